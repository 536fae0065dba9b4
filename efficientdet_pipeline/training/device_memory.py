"""Memory use of the training process and its GPU."""

import os
from pathlib import Path

import keras
import tensorflow as tf

GIGABYTE = 1e9


def memory_text() -> str:
    """Returns resident memory and peak GPU memory, `memory 2.1 GB, GPU 14.3 GB`; empty if unknown."""
    parts = {"memory ": _process_bytes(), "GPU ": gpu_bytes()}
    return ", ".join(f"{name}{size / GIGABYTE:.1f} GB" for name, size in parts.items() if size is not None)


def _process_bytes() -> int | None:
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return None  # Only Linux has this file.
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def gpu_bytes() -> int | None:
    """Returns the peak memory of the first GPU or TPU in bytes, on JAX since the start; None without one."""
    if keras.backend.backend() == "jax":
        import jax

        device = jax.local_devices()[0]
        statistics = device.memory_stats() if device.platform != "cpu" else None
        return statistics.get("peak_bytes_in_use") if statistics else None
    if not tf.config.list_logical_devices("GPU"):
        return None
    return tf.config.experimental.get_memory_info("GPU:0")["peak"]
