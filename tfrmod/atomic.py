"""Files and folders that are there whole or not at all, whenever the process dies."""

import contextlib
import glob
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


def write_file(path: Path, content: bytes | str) -> None:
    """Puts `content` where `path` says, replacing what was there in one step.

    Raises:
      OSError: no space, no permission; what was there before is then still there.
    """
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(data)
            sync(file)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


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
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
