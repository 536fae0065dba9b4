"""Distribution strategy and mixed precision."""

import contextlib
import importlib
from dataclasses import dataclass
from typing import Any, Protocol

import keras
from absl import logging

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.training.distributed import ProcessGroup


@dataclass(frozen=True)
class Hardware:
    """What precision depends on."""

    is_cpu: bool
    has_bfloat16: bool
    """Whether it multiplies matrices of bfloat16 quicker than others."""


def policy(asked: str, *, mixed: bool, hardware: Hardware) -> str:
    """Returns the Keras dtype policy: the one asked for, else bfloat16 where the hardware has it.

    Args:
      asked: float32, mixed_bfloat16, mixed_float16, or empty.
      mixed: automl's mixed_precision: 16 bits of the kind that the hardware has.
      hardware: to compute on.
    """
    if asked:
        if hardware.is_cpu and asked != "float32":
            logging.warning("precision=%s on a CPU: 16 bits are slower there; float32 is the default.", asked)
        return asked
    if hardware.is_cpu:
        if mixed:
            logging.warning("mixed_precision has no effect on a CPU, where 16 bits are slower: computing in float32.")
        return "float32"
    if hardware.has_bfloat16:
        return "mixed_bfloat16"
    return "mixed_float16" if mixed else "float32"


# The other engine may not be installed.
_MODULE = "strategy_jax" if keras.backend.backend() == "jax" else "strategy_tf"
engine: Any = importlib.import_module(f"efficientdet_pipeline.training.{_MODULE}")


class Devices(Protocol):
    """Devices; what is built inside their scope lies on all of them."""

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Returns the context to build in."""


def init_process_group(options: Any) -> ProcessGroup:
    """Meets the other processes of this training, if there are any, before anything else is done."""
    return engine.init_process_group(options.strategy)


def destroy_process_group() -> None:
    """Takes leave of the other processes; what follows each does alone."""
    engine.destroy_process_group()


def build_strategy(options: Any) -> Devices:
    """Seeds every generator, sets precision and determinism, and returns the devices to train on."""
    devices, count = engine.chosen(options.strategy)
    keras.utils.set_random_seed(options.tf_random_seed)
    chosen = policy(options.precision, mixed=options.mixed_precision, hardware=engine.hardware())
    keras.config.set_dtype_policy(chosen)
    if chosen != "float32":
        logging.info("Computing in %s; weights, statistics and losses stay float32.", chosen.removeprefix("mixed_"))
    shares = count * options.accumulate_steps
    if options.batch_size % shares:
        among = [f"{count} devices"] if count > 1 else []
        among += [f"{options.accumulate_steps} parts (accumulate_steps)"] if options.accumulate_steps > 1 else []
        raise OptionsError(
            f"batch_size must divide evenly. Received batch_size={options.batch_size} for {' times '.join(among)}; "
            f"try {max(shares, options.batch_size // shares * shares)}.",
            option="batch_size",
        )
    return devices


def count(strategy: str) -> int:
    """Returns how many devices share a batch."""
    return engine.count() if strategy else 1


def is_on_cpu() -> bool:
    """Returns whether there is nothing better to compute on."""
    return engine.hardware().is_cpu


def are_compiled_for() -> bool:
    """Returns whether a step is compiled as a whole; on a CPU TensorFlow is about eight times quicker without."""
    return engine.is_compiled_for()


def share_batch_statistics(detector: keras.Model) -> None:
    """Makes every batch normalisation see the whole batch where several devices share it."""
    engine.share_batch_statistics(detector)


def is_alone() -> bool:
    """Returns whether this process is the only one."""
    return engine.process()[1] == 1


def is_chief() -> bool:
    """Returns whether this process is the one that writes; it is, where there is but one."""
    return engine.process()[0] == 0
