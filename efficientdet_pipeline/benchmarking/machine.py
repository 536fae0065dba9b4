"""Machine of a benchmark: devices, versions, and memory in use."""

import contextlib
import importlib.metadata
import platform
import re
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfrmod.workers import default_workers

_PACKAGES = ("efficientdet-pipeline", "keras", "tensorflow", "jax", "numpy")


def description() -> dict[str, Any]:
    """Returns the devices, the cores and the versions."""
    names = _accelerators()
    return {
        "backend": keras.backend.backend(),
        "devices": names or [_processor()],
        "is_cpu": not names,
        "cores": default_workers(),
        "precision": keras.config.dtype_policy().name,
        "versions": {"python": platform.python_version(), **_versions()},
    }


def reset_peak_memory() -> None:
    """Resets the peak memory of the process, if the system supports it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    if keras.backend.backend() == "tensorflow" and tf.config.list_logical_devices("GPU"):
        tf.config.experimental.reset_memory_stats("GPU:0")


def peak_bytes() -> int | None:
    """Returns the peak memory of this process in bytes; None if unknown."""
    return _status_bytes("VmHWM")


def host_bytes() -> int | None:
    """Returns the current memory of this process in bytes."""
    return _status_bytes("VmRSS")


def _status_bytes(name: str) -> int | None:
    try:
        found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    except OSError:
        return None  # The file exists on Linux only.
    return int(found[1]) * 1024 if found else None


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
