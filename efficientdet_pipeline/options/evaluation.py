"""Options of --mode=eval, shared with training."""

from dataclasses import dataclass
from typing import Literal, cast, get_args

from efficientdet_pipeline.options.general import NAMES_A_RUN, ModeOptions, RunOptions
from efficientdet_pipeline.options.model import ModelOptions
from efficientdet_pipeline.options.schema import Options, check, check_choice, option

Engine = Literal["auto", "hotcoco", "pycocotools"]
"""What computes COCO's numbers."""


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(Options):
    """Evaluation."""

    val_file_pattern: str = option("", "Glob of shards to evaluate on, or several separated by commas.", path="globs")
    val_json_file: str = option(
        "",
        "COCO JSON file with the ground truth, used instead of the annotations in the shards.",
        path="path",
    )
    eval_samples: int | None = option(
        None,
        "Number of images to evaluate on: a fixed part that holds all classes, rare ones first, the same each time. "
        "Default: all.",
    )
    eval_name: str = option("", "Name of the evaluation; metrics are written to metrics_<name>.json.")
    eval_engine: str = option(
        "auto",
        "What computes COCO's numbers: hotcoco, pycocotools (the reference, slower), or auto, which is hotcoco where "
        "it is installed. The numbers are the same, to the last bit.",
        choices=get_args(Engine),
    )
    analysis: bool = option(
        True,
        "Explain the evaluation: thresholds.yaml (score thresholds of the best F1, which inference reads), "
        "label_errors.csv, confusion matrix, curves and report/index.html.",
    )

    def __post_init__(self) -> None:
        """Checks the number of images."""
        super().__post_init__()
        samples = self.eval_samples
        check(samples is None or samples >= 1, "eval_samples", samples, "at least 1", "leave it out to use all images")
        check_choice("eval_engine", self.eval_engine, get_args(Engine))

    @property
    def engine(self) -> Engine:
        """Returns --eval_engine."""
        return cast(Engine, self.eval_engine)


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions(Options):
    """Checkpoint to load."""

    path_ckpt: str = option(
        "",
        "Checkpoint: folder of a run, or a checkpoint's folder or file. Default: the best checkpoint of the "
        "run given by name, otherwise of the latest run.",
        path="path",
    )
    path_yaml: str = option(
        "",
        "hparams_config.yaml with the configuration of the network and its classes. Default: the one in the "
        "checkpoint's folder.",
        path="path",
    )

    def without_effect(self) -> dict[str, str]:
        """Returns the options that name a run, if a checkpoint is given."""
        reason = "path_ckpt names the checkpoint"
        names = NAMES_A_RUN if self.path_ckpt else ()
        return dict.fromkeys(names, reason)


@dataclass(frozen=True, kw_only=True)
class EvalOptions(ModeOptions):
    """Evaluation of a checkpoint."""

    run: RunOptions
    evaluation: EvaluationOptions
    checkpoint: CheckpointOptions
    model: ModelOptions

    batch_size: int = option(8, "Number of images per batch.")

    def __post_init__(self) -> None:
        """Checks the batch size."""
        super().__post_init__()
        check(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1", "try 8")
