"""Options of --mode=export and freeze_model.py."""

from dataclasses import dataclass

from efficientdet_pipeline.options.evaluation import CheckpointOptions
from efficientdet_pipeline.options.general import ModeOptions, RunOptions
from efficientdet_pipeline.options.model import ModelOptions
from efficientdet_pipeline.options.schema import option


@dataclass(frozen=True, kw_only=True)
class ExportOptions(ModeOptions):
    """Export."""

    run: RunOptions
    checkpoint: CheckpointOptions
    model: ModelOptions

    path_output: str = option(
        "",
        "Folder for saved_model and <model>_frozen.pb. Default: export in the run's folder.",
        path="path",
    )
    model_name_: str = option("", "Alias of model_name, as in the former freeze script.")
