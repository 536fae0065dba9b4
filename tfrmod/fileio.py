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
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tfrmod.errors import DatasetError

_LONG = 3600.0  # Seconds; no file is written for so long.
_PARTIAL = re.compile(r"\..*\.partial-(?:(\d+)-)?[0-9a-f]{8}")
_STAGING = re.compile(r"\..*\.partial-(\d+)")


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file's content, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_file(path: Path, content: bytes | str, *, is_synced: bool = True) -> None:
    """Puts `content` where `path` says, replacing what was there in one step.

    Args:
      path: of the file; its folder is made.
      content: what it shall hold.
      is_synced: wait until the disk has it. Where the reader checks what it
        finds and can do without, that need not be waited for.

    Raises:
      OSError: no space, no permission; what was there before is then still there.
    """
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_synced:
        remove_partial(path.parent, path.name, min_seconds=_LONG)
    partial = partial_path(path)
    try:
        with partial.open("wb") as file:
            file.write(data)
            if is_synced:
                sync(file)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if is_synced:
        sync_folder(path.parent)


def partial_path(path: Path) -> Path:
    """Returns a name next to `path` to write under; no other process, on whatever machine, has the same."""
    return path.with_name(f".{path.name}.partial-{os.getpid()}-{secrets.token_hex(4)}")


def remove_partial(folder: Path, name: str = "", *, min_seconds: float = 0.0) -> None:
    """Deletes what killed processes left half-written in a folder.

    Args:
      folder: where.
      name: of the file that was to be; empty means all.
      min_seconds: how long it must have lain untouched, where others may be writing.
    """
    for left, _ in _partial_files(folder, name):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime >= min_seconds:
                left.unlink()


def remove_partial_of_dead(folder: Path) -> None:
    """Deletes the half-written files and staging folders of processes that no longer run.

    Only for a folder that one machine at a time works in: a process of another
    machine would be taken for dead.
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
    """Yields half-written files with the process that writes them, which those of older versions do not tell."""
    for left in folder.glob(f".{glob.escape(name) or '*'}.partial-*"):
        if (match := _PARTIAL.fullmatch(left.name)) and not left.is_dir():
            yield left, int(match[1]) if match[1] else None


def remove(path: Path) -> None:
    """Deletes a file or a folder with all that is in it."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def resumable_folder(folder: Path) -> Iterator[Path]:
    """Provides a folder with whatever a killed or stopped process has left in it.

    It is removed at the end, and where the work turned out to be impossible
    (DatasetError, OSError); a lock keeps other processes out of it meanwhile.
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

    What is finished in it can be renamed into place. Folders that killed
    processes left behind are removed first; those of living ones are not
    touched.
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
    """Waits until the disk has what was written to an open file."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Waits until the disk has the names in a folder, where the system can say so."""
    with contextlib.suppress(OSError):  # Windows opens no folders; some network disks sync none.
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _is_alive(process_id: int) -> bool:
    if process_id == os.getpid():
        return False  # A left-over of an earlier process that had our number.
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
"""Byte that is locked on Windows, whose locks forbid reading: beyond all that a lock's file says of its holder."""
_SECONDS = 0.1
"""Between two tries on Windows, which cannot wait for as long as it takes."""


@contextlib.contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Keeps two runs from creating the same file or folder at the same time; the second waits.

    The lock is a file next to it, which dies with the process and is removed at
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
            os.close(descriptor)  # The process that held it has removed it; a third may lock a new one.
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
      waits: wait for the process that holds it; without that, False says that it is held.

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
