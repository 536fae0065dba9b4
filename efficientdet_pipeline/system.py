"""Available and peak memory, out-of-memory errors, the cache folder and installed packages.

Imports nothing heavy: it is used before TensorFlow is loaded.
"""

import gc
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

_PROCESSES = Path("/proc")
_GROUPS = Path("/sys/fs/cgroup")
# Files of cgroup v1 and v2: the limit, the usage, and the line of memory.stat with the part of the usage that is page
# cache, which the kernel reclaims when memory is needed.
_FIRST = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_SECOND = ("memory.max", "memory.current", "inactive_file")

# Each backend phrases it differently; in lower case, with spaces for underscores.
_OUT_OF_MEMORY = (
    *("resource exhausted", "resourceexhausted", "out of memory", "oom when allocating", "failed to allocate"),
    *("bad alloc", "memoryerror"),
)


def free_memory() -> int:
    """Returns the available memory of this machine or container in bytes; `sys.maxsize` if unknown."""
    return max(0, min([_available_on_machine(), *_available_in_groups()]))


def is_installed(package: str) -> bool:
    """Returns whether an optional package is installed, without importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # An import hook refuses it, or it is blocked in sys.modules.
        return False


@contextmanager
def rare_garbage_collection() -> Iterator[None]:
    """Lets Python look for unreachable cycles rarely, while a program builds many objects that stay.

    Imports, networks and graphs are a million objects, among which the defaults
    look for cycles a thousand times: a tenth of the time until a network runs.
    """
    before = gc.get_threshold()
    gc.set_threshold(20_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def is_out_of_memory(error: BaseException | str) -> bool:
    """Returns whether an error, or its printed text, reports that memory ran out."""
    names = "" if isinstance(error, str) else " ".join(base.__name__ for base in type(error).__mro__)
    text = f"{names} {error}".lower().replace("_", " ")
    return any(words in text for words in _OUT_OF_MEMORY)


def _available_on_machine() -> int:
    try:
        lines = (_PROCESSES / "meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # Other systems than Linux have no such file.
        return _available_by_psutil()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), sys.maxsize)


def _available_by_psutil() -> int:
    import psutil

    try:
        return psutil.virtual_memory().available
    except (OSError, RuntimeError):
        return sys.maxsize


def peak_memory() -> int:
    """Returns the peak resident memory of this process in bytes; 0 if unknown."""
    try:
        import resource
    except ImportError:  # Windows.
        import psutil

        try:
            used = psutil.Process().memory_info()
        except (OSError, psutil.Error):
            return 0
        return getattr(used, "peak_wset", used.rss)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _available_in_groups() -> Iterator[int]:
    """Yields the memory in bytes left by each control group: containers, Slurm or systemd."""
    try:
        lines = (_PROCESSES / "self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, files = (_GROUPS / "memory", _FIRST) if controllers else (_GROUPS, _SECOND)
        group = PurePath(path.lstrip("/"))
        # A limit further up binds as well. In a container the path may be the host's: then the root is the container.
        for folder in (root / group, *(root / above for above in group.parents)):
            yield _available_in_group(folder, *files)


def _available_in_group(folder: Path, limit: str, taken: str, files_read: str) -> int:
    def text(name: str) -> str:
        return (folder / name).read_text(encoding="ascii")

    try:
        statistics = dict(line.partition(" ")[::2] for line in text("memory.stat").splitlines())
        return int(text(limit)) - int(text(taken)) + int(statistics.get(files_read, 0))
    except (OSError, ValueError):
        return sys.maxsize  # No such group here, or one without a limit: its file says "max".


def cache_folder(given: str) -> Path:
    """Returns the folder for downloads: `given`, or ~/.cache/efficientdet-pipeline."""
    return Path(given).expanduser() if given else Path.home() / ".cache" / "efficientdet-pipeline"
