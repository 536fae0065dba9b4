"""Source protocol: what a module for an annotation format provides."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from tfrmod.annotated_image import AnnotatedImage
from tfrmod.problems import Problem
from tfrmod.sources.files import Files


class Entry(NamedTuple):
    """An image and the annotation of it, both relative to the folder, with forward slashes."""

    image: str
    annotation: str
    """Empty where the image has no annotation of its own and needs none."""
    detail: bytes = b""
    """What the source wants to be told again when it reads this entry, such as places in a large file."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What is in a folder, before any image has been opened."""

    entries: tuple[Entry, ...]
    """Sorted by image; each image once."""
    problems: tuple[Problem, ...] = ()
    sets: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Lists that is shipped with the dataset (train, val, trainval, test): positions in `entries`."""
    set_problems: dict[str, tuple[Problem, ...]] = field(default_factory=dict)
    """What each list names without a match."""
    set_origins: dict[str, str] = field(default_factory=dict)
    """Where each set comes from: a file, or folders."""
    label_map: dict[int, str] | None = None
    """{id: class name} that is shipped with the dataset, ids from 1; None: it has names only."""
    is_unlabelled: bool = False
    """Images alone, to be looked at by a trained detector."""


class Reading(NamedTuple):
    """One annotation, read; the image is None where it could not be."""

    image: AnnotatedImage | None
    problems: tuple[Problem, ...] = ()


class Reader(Protocol):
    """Reads the annotation of one entry."""

    def __call__(self, folder: Path, entry: Entry, *, masks: bool = False) -> Reading:
        """Returns what the annotation says; the image's pixels are not looked at.

        Args:
          folder: the dataset.
          entry: of this source's listing.
          masks: read outlines and images of masks too.
        """


@dataclass(frozen=True)
class Source:
    """One format. The functions are pure but for reading files below the folder, and run in worker processes."""

    title: str
    is_here: Callable[[Path, Files], bool]
    """Whether a folder, of which these are the files, looks like this format."""
    listing: Callable[[Path], Listing]
    read: Reader
