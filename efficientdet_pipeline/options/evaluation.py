"""Options of --mode=eval, shared with training."""

from dataclasses import dataclass

from efficientdet_pipeline.options.general import RunOptions, check
from efficientdet_pipeline.options.model import ModelOptions
from efficientdet_pipeline.options.schema import option


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(RunOptions):
    """The evaluation."""

    val_file_pattern: str = option("", path="globs")
    """Glob of shards to evaluate on; several separated by commas."""
    val_json_file: str = option("", path="path")
    """COCO json that holds the truth instead of the shards."""
    eval_samples: int | None = option(None)
    """Photos to evaluate on; default: all."""
    eval_name: str = option("")
    """Name of the evaluation: metrics go to metrics_<name>.json."""

    def __post_init__(self) -> None:
        """Checks the number of photos."""
        super().__post_init__()
        samples = self.eval_samples
        check(samples is None or samples >= 1, "eval_samples", samples, "at least 1", "leave it out to take all photos")


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions(RunOptions):
    """Which trained weights."""

    path_ckpt: str = option("", path="path")
    """Checkpoint: a run's folder, a checkpoint folder or file; default: the best of the run named, or of the latest."""
    path_yaml: str = option("", path="path")
    """hparams_config.yaml that describes the network and its classes; default: the one beside the checkpoint."""

    def without_effect(self) -> dict[str, str]:
        """Returns the options that name a run, where a checkpoint is named."""
        reason = "path_ckpt names the checkpoint"
        names = ("workspace", "run_name", "model_dir", "model_ckpts") if self.path_ckpt else ()
        return super().without_effect() | dict.fromkeys(names, reason)


@dataclass(frozen=True, kw_only=True)
class EvalOptions(EvaluationOptions, CheckpointOptions, ModelOptions):
    """The evaluation of a checkpoint."""

    batch_size: int = option(8)
    """Photos at a time."""

    def __post_init__(self) -> None:
        """Checks the batch."""
        super().__post_init__()
        check(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1", "try 8")
