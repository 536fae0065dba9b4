"""What is measured on: devices, versions, and how much memory was taken."""

import contextlib
import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

_PACKAGES = ("efficientdet-pipeline", "keras", "tensorflow", "jax", "numpy")


def description() -> dict[str, Any]:
    """Returns the devices, the cores and the versions."""
    names = _accelerators()
    return {
        "backend": keras.backend.backend(),
        "devices": names or [_processor()],
        "is_cpu": not names,
        "cores": cores(),
        "precision": keras.config.dtype_policy().name,
        "versions": {"python": platform.python_version(), **_versions()},
    }


def cores() -> int:
    """Returns the processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def forget_peaks() -> None:
    """Begins to look for the most memory anew, where the system can forget the one so far."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    if keras.backend.backend() == "tensorflow" and tf.config.list_logical_devices("GPU"):
        tf.config.experimental.reset_memory_stats("GPU:0")


def peak_bytes() -> dict[str, int | None]:
    """Returns the most memory taken, of the `host` by this process and of the first `device`; None where unknown.

    JAX forgets no peak: its device's is that of everything so far.
    """
    return {"host": _status_bytes("VmHWM"), "device": _device_bytes()}


def host_bytes() -> int | None:
    """Returns the memory that this process takes now."""
    return _status_bytes("VmRSS")


def _status_bytes(name: str) -> int | None:
    try:
        found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    except OSError:
        return None  # Other systems than Linux have no such file.
    return int(found[1]) * 1024 if found else None


def _device_bytes() -> int | None:
    if keras.backend.backend() == "jax":
        import jax

        device = jax.local_devices()[0]
        statistics = device.memory_stats() if device.platform != "cpu" else None
        return statistics.get("peak_bytes_in_use") if statistics else None
    if not tf.config.list_logical_devices("GPU"):
        return None
    return tf.config.experimental.get_memory_info("GPU:0")["peak"]


def _accelerators() -> list[str]:
    if keras.backend.backend() == "jax":
        import jax

        return [device.device_kind for device in jax.local_devices() if device.platform != "cpu"]
    details = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    return [each.get("device_name", "GPU") for each in details]


def _processor() -> str:
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
