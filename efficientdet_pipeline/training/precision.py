"""In how many bits the training computes."""

from dataclasses import dataclass

from absl import logging


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
