"""Checkpoints on disk, written atomically by a background thread."""

import json
import os
import re
import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from absl import logging
from efficientdet.errors import CheckpointError

from efficientdet_pipeline.errors import CannotWriteError, DataError
from efficientdet_pipeline.json_fields import Fields, integer_field, number_field, object_field, text_field
from tfrmod.fileio import sha256_of, sync_folder

WEIGHTS = "model.weights.h5"
NETWORK = "hparams_config.yaml"
STATE = "state.npz"
MARKER = "checkpoint.json"


def write_checkpoint(
    directory: Path, writers: Mapping[str, Callable[[Path], None]], fields: Mapping[str, object], *, keep: int = 2
) -> None:
    """Writes a checkpoint folder to `directory`; earlier ones are renamed to `.previous`, `.previous2` …

    Args:
      writers: file name → function that writes the file to a given path.
      fields: content of the marker beside the files, for example the step.
      keep: number of checkpoints to keep, this one included.

    Raises:
      CannotWriteError: the folder does not keep what is written to it.
    """
    fresh = _fresh(directory)
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        files = {}
        for name, write in writers.items():
            write(fresh / name)
            _fsync(fresh / name)
            files[name] = {"bytes": (fresh / name).stat().st_size, "sha256": sha256_of(fresh / name)}
        (fresh / MARKER).write_text(json.dumps({**fields, "files": files}, indent=1), encoding="utf-8")
        _fsync(fresh / MARKER)
        # Read once more: earlier checkpoints are only given up for one that is there.
        if fault := checkpoint_fault(fresh) or _empty_file(files):
            raise _lost(directory, fault)
    except FileNotFoundError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise _lost(directory, f"{Path(str(error.filename)).name} is gone") from error
    except BaseException:
        # An incomplete checkpoint must not keep a full disk full.
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    sync_folder(fresh)
    _rotate(directory, keep=keep)


def _empty_file(files: Mapping[str, Mapping[str, object]]) -> str | None:
    """Returns that a file is empty, which no file of a checkpoint is."""
    return next((f"{name} is empty" for name, each in files.items() if not each["bytes"]), None)


def _lost(directory: Path, fault: str) -> CannotWriteError:
    return CannotWriteError(
        f"The folder must keep what is written to it. Received {directory.parent}, where {fault} right after it was "
        "written. Mount the bucket or disk again, or train in a folder of this machine (--workspace); earlier "
        "checkpoints are kept, and the same command continues from them."
    )


def has_checkpoint(directory: Path) -> bool:
    """Returns whether there is a checkpoint, without reading or changing any: another process may be writing one."""
    return any((folder / MARKER).exists() for folder in (*_existing(directory), _fresh(directory)))


def find_checkpoint(directory: Path) -> Path | None:
    """Returns the newest complete checkpoint, or None; damaged ones are renamed, with a warning."""
    return next(find_checkpoints(directory), None)


def find_checkpoints(directory: Path) -> Iterator[Path]:
    """Yields the complete checkpoints, newest first; damaged ones are renamed, with a warning."""
    # An interruption between the renames leaves the new one complete under its temporary name.
    fresh = _fresh(directory)
    if fresh.exists():
        if checkpoint_fault(fresh) is None:
            _rotate(directory, keep=len(_existing(directory)) + 1)
        else:
            shutil.rmtree(fresh, ignore_errors=True)
    for candidate in _existing(directory):
        fault = checkpoint_fault(candidate)
        if fault is None:
            yield candidate
            continue
        renamed = _unused(candidate.with_name(candidate.name + ".damaged"))
        os.replace(candidate, renamed)
        logging.warning("The checkpoint %s is damaged (%s); it was renamed to %s.", candidate, fault, renamed.name)


def read_marker(checkpoint: Path) -> dict[str, object]:
    """Returns the content of a checkpoint's marker file."""
    content = json.loads((checkpoint / MARKER).read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise DataError(f"{checkpoint / MARKER} must contain a JSON object. Received {content!r}.")
    return content


def checkpoint_fault(checkpoint: Path) -> str | None:
    """Returns why a checkpoint folder is invalid, or None."""
    try:
        files = object_field(read_marker(checkpoint), "files")
        written = {name: _size_and_digest(files, name) for name in files}
    except (FileNotFoundError, NotADirectoryError):
        return "it has no marker, because writing was interrupted"
    except (ValueError, DataError):
        return "its marker cannot be read"
    for name, (size, digest) in written.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size or sha256_of(path) != digest:
            return f"{name} has changed since it was written"
    return None


def _size_and_digest(files: Fields, name: str) -> tuple[int, str]:
    written = object_field(files, name)
    return integer_field(written, "bytes"), text_field(written, "sha256")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name."""
    np.savez(path, allow_pickle=False, **arrays)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Returns arrays by name.

    Raises:
      CheckpointError: the file is damaged.
    """
    try:
        # Given a path, NumPy leaves a damaged file open.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{path} must contain the arrays of a training state. It is damaged: {error}. "
            "Delete its folder; the same command resumes from the previous checkpoint."
        ) from error


def _rotate(directory: Path, *, keep: int) -> None:
    """Renames the new checkpoint to its final name, rotates earlier ones, and deletes those beyond `keep`."""
    trash = directory.with_name(f".{directory.name}.old")
    shutil.rmtree(trash, ignore_errors=True)
    for number, path in reversed(list(enumerate(_existing(directory), start=1))):
        if number < keep:
            os.replace(path, _previous(directory, number))
        else:
            # Rename before deleting: a partial deletion must not look like a damaged checkpoint.
            shutil.rmtree(trash, ignore_errors=True)
            os.replace(path, trash)
    os.replace(_fresh(directory), directory)
    sync_folder(directory.parent)
    shutil.rmtree(trash, ignore_errors=True)


def _existing(directory: Path) -> list[Path]:
    """Returns the checkpoint folders, newest first."""
    if not directory.parent.is_dir():
        return []
    pattern = re.compile(rf"{re.escape(directory.name)}(?:\.previous(\d*))?")
    found = {}
    for path in directory.parent.iterdir():
        if match := pattern.fullmatch(path.name):
            found[0 if path.name == directory.name else int(match[1] or 1)] = path
    return [found[number] for number in sorted(found)]


def _previous(directory: Path, number: int) -> Path:
    return directory.with_name(f"{directory.name}.previous{number if number > 1 else ''}")


def _fresh(directory: Path) -> Path:
    return directory.with_name(f".{directory.name}.new")


def _unused(path: Path) -> Path:
    number = 1
    candidate = path
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}{number}")
    return candidate


def _fsync(path: Path) -> None:
    # Windows cannot flush a file that is open for reading only.
    with path.open("r+b") as file:
        os.fsync(file.fileno())


class AsyncWriter:
    """Runs one write job at a time in a background thread."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """Duration of the last job."""
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a job is running."""
        return self._thread is not None and self._thread.is_alive()

    def submit(self, job: Callable[[], None]) -> None:
        """Starts a job after the previous one has finished; raises the previous job's error."""
        self.wait()
        # A daemon thread: an immediate exit does not wait for it.
        self._thread = threading.Thread(target=self._run, args=(job,), name="checkpoint-writer", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Waits for the running job; raises its error."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def check(self) -> None:
        """Raises the error of a finished job."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self, job: Callable[[], None]) -> None:
        began = time.monotonic()
        try:
            job()
        except BaseException as error:
            self._error = error
        self.seconds = time.monotonic() - began


def epoch_of(weights: Path) -> float:
    """Returns the number of finished epochs of a checkpoint, its folder or its weights; -1 if unknown."""
    folder = weights if weights.is_dir() else weights.parent
    return number_field(read_marker(folder), "epoch") if (folder / MARKER).exists() else -1
