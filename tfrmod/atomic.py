"""Files and folders that are there whole or not at all, whenever the process dies."""

import contextlib
import glob
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
    """Returns a name beside `path` to write under; no other process, on whatever machine, has the same."""
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
    """Lends a folder with whatever a killed or stopped process has left in it.

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
    """Lends an empty folder beside `destination`, on the same disk, and removes it at the end.

    What is finished in it can be renamed into place. Folders that killed
    processes left behind are cleared away first; those of living ones are not
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
