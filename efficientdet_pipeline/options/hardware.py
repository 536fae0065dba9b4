"""Hardware options: devices, precision, memory and compilation."""

from dataclasses import dataclass

from absl import logging

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.schema import Options, check, check_choice, option


@dataclass(frozen=True, kw_only=True)
class HardwareOptions(Options):
    """Hardware and performance."""

    backend: str = option(
        "",
        "Keras backend: tensorflow or jax. Default: the environment variable KERAS_BACKEND, otherwise tensorflow.",
        choices=("", "tensorflow", "jax"),
    )
    strategy: str = option(
        "",
        "Distribution strategy. Empty: one device. gpus: all GPUs of this machine. tpu, multiworker: all TPUs "
        "or all machines (backend jax).",
        choices=("", "gpus", "tpu", "multiworker"),
    )
    precision: str = option(
        "",
        "Compute dtype policy; variables stay float32. Default: mixed_bfloat16 if the hardware supports it, "
        "otherwise float32.",
        choices=("", "float32", "mixed_bfloat16", "mixed_float16"),
        shapes=True,
    )
    mixed_precision: bool = option(
        False,
        "google/automl's flag for mixed precision: selects the 16-bit dtype that the hardware supports; "
        "float32 on a CPU, where 16-bit computation is slower.",
        shapes=True,
    )
    loss_scale: float = option(
        32768.0,
        "Initial loss scale with mixed_float16. Dynamic: halved when gradients overflow, doubled after a "
        "streak of finite steps. 0: no loss scaling.",
        shapes=True,
    )
    accumulate_steps: int = option(
        1,
        "Gradient accumulation: number of micro-batches per batch, computed sequentially to save "
        "memory; their gradients are summed.",
        shapes=True,
    )
    grad_checkpoint: str = option(
        "false",
        "Gradient checkpointing: recompute activations in the backward pass to save memory. true: all MBConv "
        "blocks, FPN cells and head layers. Otherwise a regular expression that selects them by "
        "google/automl's names: efficientnet-b0/blocks_3, fpn_cells/cell_0, class_net/class-1, box_net/box-2. "
        "Steps take about a third longer; results do not change.",
        bare=True,
    )
    use_xla: bool = option(False, "Compile the training step with XLA; several times slower on a CPU.")
    compilation_cache: str = option(
        "",
        "Folder where JAX keeps compiled steps, so that the next start does not compile them again, or none. Default: "
        "compiled in the cache folder (cache_dir). Only with --backend=jax on GPUs and TPUs. It holds code that is "
        "run: do not share it with others than you trust.",
        path="path",
    )
    steps_per_execution: int = option(
        1,
        "Number of steps per call of the compiled training function. Larger values are faster for small networks.",
    )
    tpu: str = option(
        "",
        "Name of a Cloud TPU. Ignored: JAX runs on the machines of the TPU and detects its devices.",
    )
    tpu_zone: str = option("", "Zone of the Cloud TPU. Ignored, as `tpu`.")
    gcp_project: str = option("", "Google Cloud project of the Cloud TPU. Ignored, as `tpu`.")
    num_cores: int | None = option(None, "Number of TPU cores. Ignored: all devices are used.")
    profile: bool = option(False, "Profile steps 10 to 12 for TensorBoard.")

    @property
    def recomputed_blocks(self) -> str:
        """Returns the regular expression of grad_checkpoint; empty for none."""
        return {"true": ".", "false": ""}.get(self.grad_checkpoint.lower(), self.grad_checkpoint)

    def __post_init__(self) -> None:
        """Checks the values and warns of options without effect."""
        super().__post_init__()
        for name in ("backend", "strategy", "precision"):
            check_choice(name, getattr(self, name), self.__dataclass_fields__[name].metadata["choices"])
        for name in ("steps_per_execution", "accumulate_steps"):
            check(getattr(self, name) >= 1, name, getattr(self, name), "at least 1", "try 1")
        check(self.loss_scale >= 0, "loss_scale", self.loss_scale, "0 or more", "0 disables loss scaling")
        is_float16 = self.precision == "mixed_float16" or self.mixed_precision
        if not is_float16 and self.loss_scale != self.__dataclass_fields__["loss_scale"].default:
            logging.warning("loss_scale has no effect without --precision=mixed_float16.")
        for name in ("tpu", "tpu_zone", "gcp_project"):
            if getattr(self, name):
                logging.warning(
                    "%s has no effect: run this command on each machine of the TPU with --backend=jax "
                    "--strategy=tpu; the machines connect automatically.",
                    name,
                )
        if self.precision and self.mixed_precision:
            raise OptionsError(
                f"precision and mixed_precision are mutually exclusive. Received precision={self.precision} and "
                "mixed_precision; leave mixed_precision out.",
                option="mixed_precision",
            )
