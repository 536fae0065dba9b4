"""Checkpoints: whole or not there at all.

A checkpoint is a folder. It is written beside its place and renamed, and its
marker, which holds size and sha256 of every file, is written last; a folder
without a marker that agrees is no checkpoint. The one before is kept.
"""

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from efficientdet.errors import CheckpointError

WEIGHTS = "model.weights.h5"
NETWORK = "hparams_config.yaml"
STATE = "state.npz"
MARKER = "checkpoint.json"


def write_checkpoint(place: Path, writers: Mapping[str, Callable[[Path], None]], facts: Mapping[str, Any]) -> None:
    """Writes a checkpoint folder to `place`; the one that was there becomes `<place>.previous`.

    Args:
      writers: file name to the function that writes the file at the path it is given.
      facts: what the marker says beside the files, for example the step.
    """
    fresh = place.with_name(f".{place.name}.new")
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
    _flush(fresh)
    previous = _previous(place)
    if place.exists():
        shutil.rmtree(previous, ignore_errors=True)
        os.replace(place, previous)
    os.replace(fresh, place)
    _flush(place.parent)


def find_checkpoint(place: Path) -> Path | None:
    """Returns the newest whole checkpoint of a place, or None; a damaged one is put aside and told."""
    # A kill between the two renames leaves the fresh one under its working name, whole.
    for candidate in (place.with_name(f".{place.name}.new"), place, _previous(place)):
        if not candidate.exists():
            continue
        fault = fault_of(candidate)
        if fault is None:
            if candidate.name.startswith("."):
                _take_into_place(candidate, place)
                return place
            return candidate
        if candidate.name.startswith("."):
            shutil.rmtree(candidate, ignore_errors=True)
        else:
            aside = _unused(candidate.with_name(candidate.name + ".damaged"))
            os.replace(candidate, aside)
            logging.warning("The checkpoint %s is damaged (%s); it was put aside as %s.", candidate, fault, aside.name)
    return None


def read_marker(checkpoint: Path) -> dict[str, Any]:
    """Returns what the marker of a checkpoint says."""
    return json.loads((checkpoint / MARKER).read_text(encoding="utf-8"))


def fault_of(checkpoint: Path) -> str | None:
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


def _take_into_place(candidate: Path, place: Path) -> None:
    if place.exists():
        shutil.rmtree(_previous(place), ignore_errors=True)
        os.replace(place, _previous(place))
    os.replace(candidate, place)


def _previous(place: Path) -> Path:
    return place.with_name(place.name + ".previous")


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
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
