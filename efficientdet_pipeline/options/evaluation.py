"""Options of --mode=eval, shared with training."""

from dataclasses import dataclass

from efficientdet_pipeline.options.general import RunOptions, check
from efficientdet_pipeline.options.model import ModelOptions
from efficientdet_pipeline.options.schema import option


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(RunOptions):
    """Evaluation."""

    val_file_pattern: str = option("", path="globs")
    """Glob of shards to evaluate on, or several separated by commas."""
    val_json_file: str = option("", path="path")
    """COCO JSON file with the ground truth, used instead of the annotations in the shards."""
    eval_samples: int | None = option(None)
    """Number of images to evaluate on. Default: all."""
    eval_name: str = option("")
    """Name of the evaluation; metrics are written to metrics_<name>.json."""

    def __post_init__(self) -> None:
        """Checks the number of images."""
        super().__post_init__()
        samples = self.eval_samples
        check(samples is None or samples >= 1, "eval_samples", samples, "at least 1", "leave it out to use all images")


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions(RunOptions):
    """Checkpoint to load."""

    path_ckpt: str = option("", path="path")
    """Checkpoint: folder of a run, or a checkpoint's folder or file. Default: the best checkpoint of the run given by
    name, otherwise of the latest run."""
    path_yaml: str = option("", path="path")
    """hparams_config.yaml with the configuration of the network and its classes. Default: the one in the checkpoint's
    folder."""

    def without_effect(self) -> dict[str, str]:
        """Returns the options that name a run, if a checkpoint is given."""
        reason = "path_ckpt names the checkpoint"
        names = ("workspace", "run_name", "model_dir", "model_ckpts") if self.path_ckpt else ()
        return super().without_effect() | dict.fromkeys(names, reason)


@dataclass(frozen=True, kw_only=True)
class EvalOptions(EvaluationOptions, CheckpointOptions, ModelOptions):
    """Evaluation of a checkpoint."""

    batch_size: int = option(8)
    """Number of images per batch."""

    def __post_init__(self) -> None:
        """Checks the batch size."""
        super().__post_init__()
        check(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1", "try 8")
