"""Options of --mode=export and freeze_model.py."""

from dataclasses import dataclass

from efficientdet_pipeline.options.evaluation import CheckpointOptions
from efficientdet_pipeline.options.model import ModelOptions
from efficientdet_pipeline.options.schema import option


@dataclass(frozen=True, kw_only=True)
class ExportOptions(CheckpointOptions, ModelOptions):
    """The export."""

    path_output: str = option("", path="path")
    """Where saved_model and <model>_frozen.pb go; default: export in the run's folder."""
    model_name_: str = option("")
    """The same as model_name, as the old freeze script spelled it."""
