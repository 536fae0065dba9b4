"""Options that say what the training runs on."""

from dataclasses import dataclass

from absl import logging

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.general import check, check_choice
from efficientdet_pipeline.options.optimizer import OptimizerOptions
from efficientdet_pipeline.options.schema import option


@dataclass(frozen=True, kw_only=True)
class HardwareOptions(OptimizerOptions):
    """What the training runs on."""

    backend: str = option("", choices=("", "tensorflow", "jax"))
    """What computes: tensorflow or jax; default: the environment variable KERAS_BACKEND, else tensorflow."""
    strategy: str = option("", choices=("", "gpus", "tpu", "multiworker"))
    """Empty: one device. gpus: every GPU of this machine. tpu, multiworker: every TPU, every machine (backend jax)."""
    precision: str = option("", choices=("", "float32", "mixed_bfloat16", "mixed_float16"), shapes=True)
    """What is computed in; weights stay float32. Default: mixed_bfloat16 where the hardware has it, else float32."""
    mixed_precision: bool = option(False, shapes=True)
    """google/automl's word for it: 16 bits of the kind that the hardware has; none on a CPU, where they are slower."""
    loss_scale: float = option(32768.0, shapes=True)
    """What the loss is multiplied by at first in mixed_float16; halved when gradients overflow, doubled when they
    have not for long."""
    accumulate_steps: int = option(1, shapes=True)
    """Parts that a batch is computed in, one after the other, which takes less memory; the gradients are summed."""
    grad_checkpoint: str = option("false", bare=True)
    """Keep less for the gradient and compute it again: every MBConv block, FPN cell and layer of the heads; or those
    in whose names a regular expression is found, automl's efficientnet-b0/blocks_3, fpn_cells/cell_0,
    class_net/class-1, box_net/box-2. It takes much less memory and a third more time, and changes no number."""
    use_xla: bool = option(False)
    """Compile the step with XLA; on a CPU that is several times slower."""
    steps_per_execution: int = option(1)
    """Steps between two looks of the host; more is quicker on small networks."""
    tpu: str = option("")
    """Name of a Cloud TPU; it has no effect, because JAX runs on the TPU's own machines and finds the chips there."""
    tpu_zone: str = option("")
    """Zone of the Cloud TPU; without effect, as `tpu`."""
    gcp_project: str = option("")
    """Google Cloud project of the Cloud TPU; without effect, as `tpu`."""
    num_cores: int | None = option(None)
    """Number of TPU cores; the devices are counted, so that it has no effect."""
    profile: bool = option(False)
    """Record steps 10 to 12 for TensorBoard's profiler."""

    @property
    def recomputed_blocks(self) -> str:
        """The expression of grad_checkpoint; empty for none."""
        return {"true": ".", "false": ""}.get(self.grad_checkpoint.lower(), self.grad_checkpoint)

    def __post_init__(self) -> None:
        """Checks the engine and explains where it is not to be had."""
        super().__post_init__()
        for name in ("backend", "strategy", "precision"):
            check_choice(name, getattr(self, name), self.__dataclass_fields__[name].metadata["choices"])
        for name in ("steps_per_execution", "accumulate_steps"):
            check(getattr(self, name) >= 1, name, getattr(self, name), "at least 1", "try 1")
        check(self.loss_scale >= 0, "loss_scale", self.loss_scale, "0 or more", "0 leaves the loss alone")
        is_float16 = self.precision == "mixed_float16" or self.mixed_precision
        if not is_float16 and self.loss_scale != self.__dataclass_fields__["loss_scale"].default:
            logging.warning("loss_scale has no effect without --precision=mixed_float16.")
        for name in ("tpu", "tpu_zone", "gcp_project"):
            if getattr(self, name):
                logging.warning(
                    "%s has no effect: start this command on each machine of the TPU, with --backend=jax "
                    "--strategy=tpu; the machines know each other.",
                    name,
                )
        if self.precision and self.mixed_precision:
            raise OptionsError(
                f"precision and mixed_precision say the same. Received precision={self.precision} and mixed_precision; "
                "leave mixed_precision out.",
                option="mixed_precision",
            )
