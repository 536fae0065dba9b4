"""Options that say what the training runs on."""

from dataclasses import dataclass

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.declare import option
from efficientdet_pipeline.options.optimization import OptimizationOptions
from efficientdet_pipeline.options.run import check, check_choice


@dataclass(frozen=True, kw_only=True)
class MachineOptions(OptimizationOptions):
    """What the training runs on."""

    strategy: str = option("", choices=("", "gpus", "tpu"))
    """Empty: one device. gpus: every GPU of this machine."""
    use_xla: bool = option(False)
    """Compile the step with XLA; on a CPU that is several times slower."""
    mixed_precision: bool = option(False, shapes=True)
    """Compute in 16 bits: bfloat16 on a TPU or a GPU that has it. Ignored on a CPU, where it is slower."""
    steps_per_execution: int = option(1)
    """Steps between two looks of the host; more is quicker on small networks."""
    tpu: str = option("")
    """Name or address of a Cloud TPU."""
    tpu_zone: str = option("")
    """Zone of the Cloud TPU."""
    gcp_project: str = option("")
    """Google Cloud project of the Cloud TPU."""
    num_cores: int | None = option(None)
    """Number of TPU cores; the devices are counted, so that it has no effect."""
    profile: bool = option(False)
    """Record steps 10 to 12 for TensorBoard's profiler."""

    def __post_init__(self) -> None:
        """Checks the engine and explains where it is not to be had."""
        super().__post_init__()
        check_choice("strategy", self.strategy, ("", "gpus", "tpu"))
        check(self.steps_per_execution >= 1, "steps_per_execution", self.steps_per_execution, "at least 1", "try 1")
        asked = "strategy" if self.strategy == "tpu" else "tpu" if self.tpu else ""
        if asked:
            raise OptionsError(
                f"{asked} must not name a TPU here: TensorFlow has no Cloud TPU support past 2.18. "
                f"Received {asked}={getattr(self, asked)!r}; try --strategy=gpus, or leave it out for one device.",
                option=asked,
            )
