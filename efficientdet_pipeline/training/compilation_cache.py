"""Compilation cache on disk: compiled programs of earlier starts, checked before the backend reads them.

JAX writes and reads the programs. This module chooses their folder, removes
damaged ones, which JAX would neither use nor replace, and limits their size.
"""

import contextlib
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from absl import logging

from tfrmod import fileio

NONE = "none"
"""Value of --compilation_cache that disables the cache."""
MAX_BYTES = 4 << 30
"""Size of all programs of a cache; those that were not used for the longest time are deleted first."""
_PROGRAM = "-cache"
"""End of the file names that JAX gives to programs."""
_CHECKSUM = "-sha256"
"""End of the file names of checksums, which make a program known as complete."""
_WRITING_SECONDS = 600.0
"""Age from which a program without a checksum is what a killed process left, and not what another one is writing."""


@dataclass(frozen=True)
class CacheFolder:
    """An opened folder of programs."""

    path: Path
    error: str = ""
    """Why nothing can be written to it; empty if it can."""


def open_cache(root: Path, key: str, *, is_chief: bool = True, max_bytes: int = MAX_BYTES) -> CacheFolder:
    """Returns the folder of the programs of a device and its versions, created and without damaged programs.

    Args:
      root: folder of the cache.
      key: name of the device and the versions.
      is_chief: whether this process creates and checks the folder; the others of a process group only read.
      max_bytes: size to which the programs of all devices and versions are limited.
    """
    folder = root / key
    if not is_chief:
        return CacheFolder(folder)
    try:
        # Compiled programs are code: other users must not be able to write them.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return CacheFolder(folder, error.strerror or str(error))
    num_damaged = _remove_damaged(folder)
    if num_damaged:
        logging.info(
            "%d damaged files were removed from the compilation cache %s; they are compiled again.", num_damaged, folder
        )
    _remove_oldest(root, max_bytes)
    return CacheFolder(folder)


def write_checksums(folder: Path) -> None:
    """Writes the checksums of programs that have none yet."""
    for program in folder.glob(f"*{_PROGRAM}"):
        checksum = _checksum_of(program)
        if not checksum.exists():
            # An error here costs one compilation at a later start, and must not end a training.
            with contextlib.suppress(OSError):
                fileio.write_file(checksum, fileio.sha256_of(program), is_synced=False)


def _checksum_of(program: Path) -> Path:
    return program.with_name(program.name.removesuffix(_PROGRAM) + _CHECKSUM)


def _remove_damaged(folder: Path) -> int:
    """Removes programs with a wrong checksum, and what killed processes left; returns the number of the former."""
    num_damaged = 0
    for program in sorted(folder.glob(f"*{_PROGRAM}")):
        with contextlib.suppress(OSError):
            checksum = _checksum_of(program)
            if checksum.exists():
                is_damaged = checksum.read_text(encoding="ascii", errors="replace") != fileio.sha256_of(program)
                num_damaged += is_damaged
            else:
                is_damaged = time.time() - program.stat().st_mtime > _WRITING_SECONDS
            if is_damaged:
                _remove(program)
    return num_damaged


def _remove_oldest(root: Path, max_bytes: int) -> None:
    """Removes programs, the least recently used first, until all together take at most `max_bytes`."""
    used: list[tuple[float, int, Path]] = []
    for checksum in root.glob(f"*/*{_CHECKSUM}"):
        program = checksum.with_name(checksum.name.removesuffix(_CHECKSUM) + _PROGRAM)
        with contextlib.suppress(OSError):  # Another process has removed it.
            status = program.stat()
            used.append((max(status.st_atime, status.st_mtime), status.st_size, program))
    total = sum(size for _, size, _ in used)
    for _, size, program in sorted(used):
        if total <= max_bytes:
            return
        with contextlib.suppress(OSError):
            _remove(program)
            total -= size


def _remove(program: Path) -> None:
    program.unlink(missing_ok=True)
    _checksum_of(program).unlink(missing_ok=True)
