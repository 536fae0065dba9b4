"""Crash-safe writing of files and folders, and locks between processes."""

import contextlib
import errno
import glob
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from tfrmod.errors import DatasetError

_LONG = 3600.0  # Seconds; writing a file never takes so long.
_PARTIAL = re.compile(r"\..*\.partial-(?:(\d+)-)?[0-9a-f]{8}")
_STAGING = re.compile(r"\..*\.partial-(\d+)")


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file's content, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_file(path: Path, content: bytes | str | Iterable[str], *, is_synced: bool = True) -> None:
    """Writes `content` to `path` atomically, replacing an existing file.

    Args:
      path: of the file; its folder is created.
      content: of the file, whole or in parts.
      is_synced: whether to wait until the file is on disk; not needed if the
        reader validates the file and can recreate it.

    Raises:
      OSError: no space, no permission, or a file system that does not keep
        what is written; an existing file is then unchanged.
    """
    parts: Iterable[bytes | str] = [content] if isinstance(content, bytes | str) else content
    size = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_synced:
        remove_partial(path.parent, path.name, min_seconds=_LONG)
    partial = partial_path(path)
    try:
        with partial.open("wb") as file:
            for part in parts:
                size += file.write(part.encode() if isinstance(part, str) else part)
            if is_synced:
                sync(file)
        check_kept(partial, size)
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and (error.filename is None or Path(error.filename) == partial):
            error.filename = str(path)
        raise
    if is_synced:
        sync_folder(path.parent)


def check_space(path: Path, num_bytes: int, what: str) -> None:
    """Raises OSError if the disk of an existing file or folder has less free space than `what` needs."""
    free = shutil.disk_usage(path).free
    if num_bytes > free:
        raise OSError(errno.ENOSPC, f"{what} needs {num_bytes:,} bytes and the disk has {free:,} free", str(path))


def check_kept(path: Path, size: int) -> None:
    """Raises OSError if a file that was just written has another size, as on a mount that loses writes."""
    kept = path.stat().st_size if path.exists() else 0
    if kept != size:
        raise OSError(errno.EIO, f"the file system kept {kept:,} of {size:,} bytes that were written", str(path))


def partial_path(path: Path) -> Path:
    """Returns a temporary name next to `path`, unique across processes and machines."""
    return path.with_name(f".{path.name}.partial-{os.getpid()}-{secrets.token_hex(4)}")


def remove_partial(folder: Path, name: str = "", *, min_seconds: float = 0.0) -> None:
    """Deletes partial files of killed processes in a folder.

    Args:
      folder: the folder.
      name: of the final file; empty means all.
      min_seconds: minimum age, if other processes may be writing.
    """
    for left, _ in _partial_files(folder, name):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime >= min_seconds:
                left.unlink()


def remove_partial_of_dead(folder: Path) -> None:
    """Deletes the partial files and staging folders of processes that no longer run.

    Only for a folder that a single machine uses at a time: a process of another
    machine would appear to have ended.
    """
    for left, owner in _partial_files(folder):
        with contextlib.suppress(FileNotFoundError):
            is_old = time.time() - left.stat().st_mtime >= _LONG
            if is_old or (owner is not None and not _is_alive(owner)):
                left.unlink()
    for left in folder.glob(".*.partial-*"):
        if (match := _STAGING.fullmatch(left.name)) and left.is_dir() and not _is_alive(int(match[1])):
            shutil.rmtree(left, ignore_errors=True)


def _partial_files(folder: Path, name: str = "") -> Iterator[tuple[Path, int | None]]:
    """Yields partial files and the process that writes them; None for files of older versions, which do not name it."""
    for left in folder.glob(f".{glob.escape(name) or '*'}.partial-*"):
        if (match := _PARTIAL.fullmatch(left.name)) and not left.is_dir():
            yield left, int(match[1]) if match[1] else None


def remove(path: Path) -> None:
    """Deletes a file, or a folder with its content."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def resumable_folder(folder: Path) -> Iterator[Path]:
    """Provides a folder that keeps its content after the process was killed or stopped.

    It is removed at the end, and if the work turned out to be impossible
    (DatasetError, OSError). A lock excludes other processes meanwhile.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    except (DatasetError, OSError):
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def staging_folder(destination: Path) -> Iterator[Path]:
    """Provides an empty folder next to `destination`, on the same disk, and removes it at the end.

    Finished content is moved out of it by a rename. Folders of killed processes
    are removed first; those of running processes are kept.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{destination.name}.partial-"
    for left in destination.parent.glob(f"{glob.escape(prefix)}*"):
        owner = re.fullmatch(r"\d+", left.name.removeprefix(prefix))
        if owner and not _is_alive(int(owner.group())):
            shutil.rmtree(left, ignore_errors=True)
    folder = destination.parent / f"{prefix}{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sync(file: BinaryIO) -> None:
    """Waits until the data of an open file are on disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on disk, if the system supports it."""
    with contextlib.suppress(OSError):  # Windows cannot open folders; some network disks cannot sync them.
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _is_alive(process_id: int) -> bool:
    if process_id == os.getpid():
        return False  # A remainder of an earlier process with the same id.
    if os.name == "nt":  # There, os.kill ends the process, whatever the signal.
        import psutil

        return psutil.pid_exists(process_id)
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


_FAR = 1 << 30
"""Locked byte on Windows, where locked bytes cannot be read: after the content of the lock file."""
_SECONDS = 0.1
"""Interval between attempts on Windows, where waiting for a lock has a time limit."""


@contextlib.contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Prevents two runs from creating the same file or folder at the same time; the second waits.

    The lock is a file next to it, which is released when the process ends and
    removed at the end. In a read-only folder there are no writers, and no lock.
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
            os.close(descriptor)  # The previous owner has removed it; another process may lock a new one.
    except OSError:  # Read-only, or a disk or system without locks.
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows cannot remove an open file.
            place.unlink(missing_ok=True)
        os.close(descriptor)
        if os.name == "nt":
            with contextlib.suppress(OSError):  # Another process may have opened it and still use it.
                place.unlink(missing_ok=True)


def remove_stale_lock(path: Path) -> None:
    """Removes the lock file of a killed process at a file or folder; a held lock is kept."""
    place = path.with_name(f".{path.name}.lock")
    with contextlib.suppress(OSError):  # It does not exist, or the disk or system has no locks.
        descriptor = os.open(place, os.O_RDWR)
        try:
            if lock_file(descriptor, waits=False):
                place.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def lock_file(descriptor: int, *, waits: bool) -> bool:
    """Locks an open file until it is closed or the process ends, and returns whether that succeeded.

    Args:
      descriptor: of the file, open for writing.
      waits: whether to wait for the process that holds the lock; otherwise False is returned.

    Raises:
      OSError: this system, or this disk, does not support locks.
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
        raise OSError(errno.ENOLCK, "this system does not support file locks") from None
    while True:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError as error:
            # EDEADLOCK is the error of LK_LOCK after ten attempts; EACCES that of a held lock.
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
