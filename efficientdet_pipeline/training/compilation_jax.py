"""Compilation on JAX: its persistent cache, keyed by versions and device, and what was compiled."""

import atexit
import hashlib
import os
import platform
import re
from pathlib import Path

import jax
import jax.monitoring
import jaxlib.version
from absl import logging
from jax.experimental.compilation_cache import compilation_cache as jax_cache

from efficientdet_pipeline.system import cache_folder
from efficientdet_pipeline.training import compilation_cache
from efficientdet_pipeline.training.compilation import Compilation

SUBFOLDER = "compiled"
PLATFORMS = {"gpu", "tpu"}
"""Where programs are kept. XLA's programs for CPUs are not: a training step that was read back crashed the process."""
MIN_SECONDS = 0.2
"""Programs that compile faster are not kept: reading them would take as long."""
_NEVER = 1e9
_COMPILED = "/jax/core/compile/backend_compile_duration"
_SAVED = "/jax/compilation_cache/compile_time_saved_sec"
_DIRECTORY = "jax_compilation_cache_dir"
_seconds = {_COMPILED: 0.0, _SAVED: 0.0}
_opened: list[Path] = []
"""Folder in use, if it is this program's."""


def _count(event: str, duration_secs: float, **about: str | int) -> None:
    del about  # JAX passes details by name.
    if event in _seconds:
        # JAX rounds the compile time down, so that a small program may seem to cost time.
        _seconds[event] += max(0.0, duration_secs)


jax.monitoring.register_event_duration_secs_listener(_count)


def use_cache(given: str, cache_dir: str) -> None:
    """Keeps compiled programs in a folder, or nowhere; must be called after connecting to other processes.

    Args:
      given: `none`, a folder, or empty for the default: JAX_COMPILATION_CACHE_DIR of JAX itself if it is set,
        otherwise a subfolder of the cache.
      cache_dir: --cache_dir.
    """
    if not given and os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    if given != compilation_cache.NONE and jax.default_backend() not in PLATFORMS:
        if given:
            logging.warning(
                "compilation_cache has no effect on a CPU, where compiled training steps cannot be read back reliably."
            )
        given = compilation_cache.NONE
    if given == compilation_cache.NONE:
        _set_folder(None)
        return
    root = Path(given) if given else cache_folder(cache_dir) / SUBFOLDER
    if _opened == [root / cache_key()]:
        return
    opened = compilation_cache.open_cache(root, cache_key(), is_chief=jax.process_index() == 0)
    if opened.error:
        logging.warning(
            "The compilation cache cannot be written, so every start compiles again. Received %s: %s; give another "
            "folder with --compilation_cache=DIR, or --compilation_cache=none.",
            opened.path,
            opened.error,
        )
    # What a folder without write permission holds already is still read.
    _set_folder(opened.path if not opened.error or opened.path.is_dir() else None, is_written=not opened.error)


def _set_folder(folder: Path | None, *, is_written: bool = True) -> None:
    jax.config.update(_DIRECTORY, None if folder is None else str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_SECONDS if is_written else _NEVER)
    # JAX keeps using the first folder of a process otherwise.
    jax_cache.reset_cache()
    _opened[:] = [folder] if folder is not None and is_written else []


def finished() -> Compilation:
    """Returns what was compiled so far, and makes it known as complete to later starts."""
    for folder in _opened:
        compilation_cache.write_checksums(folder)
    cache = str(_opened[0].parent) if _opened else ""
    return Compilation("Compiling the training step", _seconds[_COMPILED], _seconds[_SAVED], cache)


atexit.register(finished)


def cache_key() -> str:
    """Returns the name of the device and of everything else that a compiled program depends on."""
    device = jax.devices()[0]
    about = [jax.__version__, jaxlib.version.__version__, device.client.platform_version, device.device_kind]
    if device.platform == "cpu":
        about.append(_processor())
    digest = hashlib.sha256("\n".join(about).encode()).hexdigest()[:8]
    kind = re.sub(r"[^A-Za-z0-9]+", "-", device.device_kind).strip("-").lower()
    return f"jax-{jax.__version__}-{kind}-{digest}"


def _processor() -> str:
    """Returns the name and the instruction sets of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # Other systems than Linux have no such file.
        return f"{platform.machine()} {platform.processor()}"
    wanted = ("model name", "flags", "Features")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))
