"""Checkpoints on disk: whole or absent, written by a background thread."""

import hashlib
import json
import os
import re
import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from efficientdet.errors import CheckpointError

from tfrmod.fileio import sync_folder

WEIGHTS = "model.weights.h5"
NETWORK = "hparams_config.yaml"
STATE = "state.npz"
MARKER = "checkpoint.json"


def write_checkpoint(
    place: Path, writers: Mapping[str, Callable[[Path], None]], facts: Mapping[str, Any], *, keep: int = 2
) -> None:
    """Writes a checkpoint folder to `place`; those that were there move back by one.

    Args:
      writers: file name to the function that writes the file at the path it is given.
      facts: what the marker says beside the files, for example the step.
      keep: how many there are then, this one included.
    """
    fresh = _fresh(place)
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        files = {}
        for name, write in writers.items():
            write(fresh / name)
            _flush(fresh / name)
            files[name] = {"bytes": (fresh / name).stat().st_size, "sha256": _sha256(fresh / name)}
        (fresh / MARKER).write_text(json.dumps({**facts, "files": files}, indent=1), encoding="utf-8")
        _flush(fresh / MARKER)
    except BaseException:
        # A full disk must not stay full because of our half.
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    sync_folder(fresh)
    _take_into_place(place, keep=keep)


def find_checkpoint(place: Path) -> Path | None:
    """Returns the newest whole checkpoint of a place, or None; damaged ones are put aside and told."""
    return next(find_checkpoints(place), None)


def find_checkpoints(place: Path) -> Iterator[Path]:
    """Yields the whole checkpoints of a place, the newest first; damaged ones are put aside and told."""
    # A kill between the renames leaves the fresh one under its working name, whole.
    fresh = _fresh(place)
    if fresh.exists():
        if checkpoint_fault(fresh) is None:
            _take_into_place(place, keep=len(_kept(place)) + 1)
        else:
            shutil.rmtree(fresh, ignore_errors=True)
    for candidate in _kept(place):
        fault = checkpoint_fault(candidate)
        if fault is None:
            yield candidate
            continue
        aside = _unused(candidate.with_name(candidate.name + ".damaged"))
        os.replace(candidate, aside)
        logging.warning("The checkpoint %s is damaged (%s); it was put aside as %s.", candidate, fault, aside.name)


def read_marker(checkpoint: Path) -> dict[str, Any]:
    """Returns what the marker of a checkpoint says."""
    return json.loads((checkpoint / MARKER).read_text(encoding="utf-8"))


def checkpoint_fault(checkpoint: Path) -> str | None:
    """Returns what is wrong with a checkpoint folder, or None."""
    try:
        files = read_marker(checkpoint)["files"]
        written = {name: (expected["bytes"], expected["sha256"]) for name, expected in files.items()}
    except (FileNotFoundError, NotADirectoryError):
        return "it has no marker: its writing was cut short"
    except (ValueError, KeyError, TypeError, AttributeError):
        return "its marker cannot be read"
    for name, (size, digest) in written.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size or _sha256(path) != digest:
            return f"{name} is not what was written"
    return None


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name."""
    np.savez(path, allow_pickle=False, **arrays)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Returns arrays by name.

    Raises:
      CheckpointError: the file is damaged.
    """
    try:
        # NumPy leaves a damaged file open that it was given by its name.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{path} must hold the arrays of a training's state. It is damaged: {error}. "
            "Delete the folder that holds it; the same command continues from the checkpoint before."
        ) from error


def _take_into_place(place: Path, *, keep: int) -> None:
    """Renames the fresh checkpoint into its place; what was there moves back, and beyond `keep` goes."""
    trash = place.with_name(f".{place.name}.old")
    shutil.rmtree(trash, ignore_errors=True)
    for number, path in reversed(list(enumerate(_kept(place), start=1))):
        if number < keep:
            os.replace(path, _previous(place, number))
        else:
            # By a rename too: what a kill leaves of a deletion must not look like a damaged checkpoint.
            shutil.rmtree(trash, ignore_errors=True)
            os.replace(path, trash)
    os.replace(_fresh(place), place)
    sync_folder(place.parent)
    shutil.rmtree(trash, ignore_errors=True)


def _kept(place: Path) -> list[Path]:
    """Returns what is in the place and behind it, the newest first."""
    if not place.parent.is_dir():
        return []
    pattern = re.compile(rf"{re.escape(place.name)}(?:\.previous(\d*))?")
    found = {}
    for path in place.parent.iterdir():
        if match := pattern.fullmatch(path.name):
            found[0 if path.name == place.name else int(match[1] or 1)] = path
    return [found[number] for number in sorted(found)]


def _previous(place: Path, number: int) -> Path:
    return place.with_name(f"{place.name}.previous{number if number > 1 else ''}")


def _fresh(place: Path) -> Path:
    return place.with_name(f".{place.name}.new")


def _unused(path: Path) -> Path:
    number = 1
    candidate = path
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}{number}")
    return candidate


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    # Windows flushes no file that is open for reading alone.
    with path.open("r+b") as file:
        os.fsync(file.fileno())


class AsyncWriter:
    """Does a job in a thread of its own; the next one waits for it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """How long the last job took."""
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a job is being done."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self, job: Callable[[], None]) -> None:
        """Begins a job, after the one before it has ended; raises what went wrong there."""
        self.wait()
        # A daemon: a process that is told to end at once does not wait for it.
        self._thread = threading.Thread(target=self._do, args=(job,), name="background", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Waits for the job that is being done; raises what went wrong."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def check(self) -> None:
        """Raises what went wrong in a job that has ended."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _do(self, job: Callable[[], None]) -> None:
        began = time.monotonic()
        try:
            job()
        except BaseException as error:
            self._error = error
        self.seconds = time.monotonic() - began
