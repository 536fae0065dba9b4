"""One process at a time at a file or folder that several may want to make."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Keeps two runs from making one thing at the same time; the second waits.

    The lock is a file beside it, which dies with the process and is removed at
    the end. A folder that may only be read has no writers to keep apart.
    """
    try:
        import fcntl  # Not on Windows, where two runs at once are on their own.

        path.parent.mkdir(parents=True, exist_ok=True)
        place = path.with_name(f".{path.name}.lock")
        while True:
            descriptor = os.open(place, os.O_CREAT | os.O_RDWR, 0o644)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_there(place, descriptor):
                break
            os.close(descriptor)  # Whoever held it has removed it; a third may lock a new one.
    except (ImportError, OSError):  # Read-only, or a network disk that locks nothing.
        yield
        return
    try:
        yield
    finally:
        place.unlink(missing_ok=True)
        os.close(descriptor)


def _is_there(place: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(place.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
