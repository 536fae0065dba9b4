"""How much memory is left, and whether an error says that it ran out.

Nothing heavy is imported: one may ask before TensorFlow loads.
"""

import sys
from collections.abc import Iterator
from pathlib import Path, PurePath

_PROCESSES = Path("/proc")
_GROUPS = Path("/sys/fs/cgroup")
# Files of a control group of the first version and of the second: the most it may take, what it takes, and which line
# of memory.stat says how much of that are files read, which the system gives up where memory is wanted.
_FIRST = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_SECOND = ("memory.max", "memory.current", "inactive_file")

# Each engine has words of its own; in lower case, underscores as spaces.
_OUT_OF_MEMORY = (
    *("resource exhausted", "resourceexhausted", "out of memory", "oom when allocating", "failed to allocate"),
    *("bad alloc", "memoryerror"),
)


def free_memory() -> int:
    """Returns the bytes that this machine, or a container around this process, has left; without end if unknown."""
    return max(0, min([_left_by_machine(), *_left_by_groups()]))


def is_out_of_memory(error: BaseException | str) -> bool:
    """Returns whether an error, or what was printed of it, says that memory ran out."""
    names = "" if isinstance(error, str) else " ".join(base.__name__ for base in type(error).__mro__)
    text = f"{names} {error}".lower().replace("_", " ")
    return any(words in text for words in _OUT_OF_MEMORY)


def _left_by_machine() -> int:
    try:
        lines = (_PROCESSES / "meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # Other systems than Linux have no such file.
        return _told_by_psutil()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), sys.maxsize)


def _told_by_psutil() -> int:
    import psutil

    try:
        return psutil.virtual_memory().available
    except (OSError, RuntimeError):
        return sys.maxsize


def peak_memory() -> int:
    """Returns the most bytes that this process has held at a time; 0 if unknown."""
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


def _left_by_groups() -> Iterator[int]:
    """Yields what containers leave this process, and what Slurm or systemd allot to it."""
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
            yield _left_by_group(folder, *files)


def _left_by_group(folder: Path, limit: str, taken: str, files_read: str) -> int:
    def text(name: str) -> str:
        return (folder / name).read_text(encoding="ascii")

    try:
        statistics = dict(line.partition(" ")[::2] for line in text("memory.stat").splitlines())
        return int(text(limit)) - int(text(taken)) + int(statistics.get(files_read, 0))
    except (OSError, ValueError):
        return sys.maxsize  # No such group here, or one without a limit: its file says "max".


def cache_folder(given: str) -> Path:
    """Returns where downloads are kept."""
    return Path(given).expanduser() if given else Path.home() / ".cache" / "efficientdet-pipeline"
