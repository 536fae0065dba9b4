"""File locks: one process at a time at a file or folder that several may want to make."""

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

_FAR = 1 << 30
"""Byte that is locked on Windows, whose locks forbid reading: beyond all that a lock's file says of its holder."""
_SECONDS = 0.1
"""Between two tries on Windows, which cannot wait for as long as it takes."""


@contextlib.contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Keeps two runs from making one thing at the same time; the second waits.

    The lock is a file beside it, which dies with the process and is removed at
    the end. A folder that may only be read has no writers to keep apart.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        place = path.with_name(f".{path.name}.lock")
        while True:
            descriptor = os.open(place, os.O_CREAT | os.O_RDWR, 0o644)
            try:
                lock_file(descriptor, waits=True)
            except OSError:
                os.close(descriptor)
                raise
            if _is_there(place, descriptor):
                break
            os.close(descriptor)  # Whoever held it has removed it; a third may lock a new one.
    except OSError:  # Read-only, or a disk or system that locks nothing.
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows removes no file that is open.
            place.unlink(missing_ok=True)
        os.close(descriptor)
        if os.name == "nt":
            with contextlib.suppress(OSError):  # Another process may have opened it meanwhile, and uses it on.
                place.unlink(missing_ok=True)


def remove_stale_lock(path: Path) -> None:
    """Removes the lock's file that a killed process left at a file or folder; one that is held stays."""
    place = path.with_name(f".{path.name}.lock")
    with contextlib.suppress(OSError):  # There is none, or the disk or system locks nothing.
        descriptor = os.open(place, os.O_RDWR)
        try:
            if lock_file(descriptor, waits=False):
                place.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def lock_file(descriptor: int, *, waits: bool) -> bool:
    """Locks an open file until it is closed or the process dies, and returns whether that could be done.

    Args:
      descriptor: of the file, open for writing.
      waits: wait for whoever holds it; without that, False says that it is held.

    Raises:
      OSError: this system, or this disk, locks no files.
    """
    try:
        import fcntl
    except ImportError:
        return _lock_on_windows(descriptor, waits=waits)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _lock_on_windows(descriptor: int, *, waits: bool) -> bool:
    try:
        import msvcrt
    except ImportError:
        raise OSError(errno.ENOLCK, "this system locks no files") from None
    while True:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError as error:
            # EDEADLOCK is what LK_LOCK says after its ten tries; EACCES what a held lock does.
            if error.errno not in {errno.EACCES, errno.EDEADLK}:
                raise
            if not waits:
                return False
            time.sleep(_SECONDS)
        else:
            return True
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)


def _is_there(place: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(place.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
