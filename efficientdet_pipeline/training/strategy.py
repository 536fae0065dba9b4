"""Distribution strategy and mixed precision."""

import contextlib
import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

import keras
from absl import logging

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.training.compilation import Compilation
from efficientdet_pipeline.training.distributed import ProcessGroup


@dataclass(frozen=True)
class Hardware:
    """Hardware properties that the precision depends on."""

    is_cpu: bool
    has_bfloat16: bool
    """Whether it has fast bfloat16 matrix multiplication."""


def dtype_policy(requested: str, *, mixed: bool, hardware: Hardware) -> str:
    """Returns the Keras dtype policy: the requested one, else bfloat16 if the hardware supports it.

    Args:
      requested: float32, mixed_bfloat16, mixed_float16, or empty.
      mixed: automl's mixed_precision: the 16-bit type that the hardware supports.
      hardware: the device to compute on.
    """
    if requested:
        if hardware.is_cpu and requested != "float32":
            logging.warning("precision=%s on a CPU: 16 bits are slower than float32, the default.", requested)
        return requested
    if hardware.is_cpu:
        if mixed:
            logging.warning("mixed_precision has no effect on a CPU, where 16 bits are slower: computing in float32.")
        return "float32"
    if hardware.has_bfloat16:
        return "mixed_bfloat16"
    return "mixed_float16" if mixed else "float32"


# The other backend may not be installed.
_MODULE = "strategy_jax" if keras.backend.backend() == "jax" else "strategy_tf"
backend: ModuleType = importlib.import_module(f"efficientdet_pipeline.training.{_MODULE}")


class Devices(Protocol):
    """Distribution strategy; variables built inside its scope are on all devices."""

    def scope(self) -> contextlib.AbstractContextManager[object]:
        """Returns the context to build the model in."""


def init_process_group(strategy: str) -> ProcessGroup:
    """Connects to the other processes of this training, if any; must be called first."""
    return backend.init_process_group(strategy)


def destroy_process_group() -> None:
    """Disconnects from the other processes."""
    backend.destroy_process_group()


def build_strategy(options: TrainOptions) -> Devices:
    """Sets random seeds, precision and determinism, and returns the devices to train on."""
    hardware, batch_size = options.hardware, options.optimizer.batch_size
    devices, count = backend.select_devices(hardware.strategy)
    backend.use_compilation_cache(hardware.compilation_cache, options.data.images.cache_dir)
    keras.utils.set_random_seed(options.seed.tf_random_seed)
    policy = dtype_policy(hardware.precision, mixed=hardware.mixed_precision, hardware=backend.hardware())
    keras.config.set_dtype_policy(policy)
    if policy != "float32":
        logging.info("Computing in %s; weights, statistics and losses remain float32.", policy.removeprefix("mixed_"))
    shares = count * hardware.accumulate_steps
    if batch_size % shares:
        among = [f"{count} devices"] if count > 1 else []
        among += [f"{hardware.accumulate_steps} parts (accumulate_steps)"] if hardware.accumulate_steps > 1 else []
        raise OptionsError(
            f"batch_size must divide evenly. Received batch_size={batch_size} for {' times '.join(among)}; "
            f"try {max(shares, batch_size // shares * shares)}.",
            option="batch_size",
        )
    return devices


def compilation() -> Compilation:
    """Returns what this process compiled so far; on JAX, it is kept from here on."""
    return backend.compilation()


def count(strategy: str) -> int:
    """Returns the number of devices that share a batch."""
    return backend.count() if strategy else 1


def is_on_cpu() -> bool:
    """Returns whether there is no accelerator."""
    return backend.hardware().is_cpu


def uses_jit() -> bool:
    """Returns whether the train step uses XLA; on a CPU, TensorFlow is about eight times faster without."""
    return backend.is_jit_faster()


def share_batch_statistics(detector: keras.Model) -> None:
    """Synchronizes batch normalization over all devices that share a batch."""
    backend.share_batch_statistics(detector)


def is_single_process() -> bool:
    """Returns whether this is the only process of the training."""
    return backend.process_index_and_count()[1] == 1


def is_chief() -> bool:
    """Returns whether this process is the chief, which writes; true for a single process."""
    return backend.process_index_and_count()[0] == 0
