"""Interface of annotation formats: the functions and values of their modules."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from tfrmod.annotated_image import AnnotatedImage
from tfrmod.problems import Problem
from tfrmod.sources.files import Files


class Entry(NamedTuple):
    """An image and its annotation, as paths relative to the folder, with forward slashes."""

    image: str
    annotation: str
    """Empty if the image has no annotation file and needs none."""
    detail: bytes = b""
    """Information that the source needs to read this entry, such as positions in a large file."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Content of a folder, before any image is opened."""

    entries: tuple[Entry, ...]
    """Sorted by image, without duplicates."""
    problems: tuple[Problem, ...] = ()
    sets: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Sets shipped with the dataset (train, val, trainval, test): indices into `entries`."""
    set_problems: dict[str, tuple[Problem, ...]] = field(default_factory=dict)
    """Names in each set without a matching image."""
    set_origins: dict[str, str] = field(default_factory=dict)
    """Origin of each set: a file, or folders."""
    label_map: dict[int, str] | None = None
    """{id: class name} shipped with the dataset, ids from 1; None: it has only names."""
    is_unlabelled: bool = False
    """Whether the dataset has only images, for inference with a trained detector."""


class Reading(NamedTuple):
    """Result of reading one annotation; the image is None if that failed."""

    image: AnnotatedImage | None
    problems: tuple[Problem, ...] = ()


class Reader(Protocol):
    """Reads the annotation of one entry."""

    def __call__(self, folder: Path, entry: Entry, *, masks: bool = False) -> Reading:
        """Returns the annotation; does not decode the image.

        Args:
          folder: the dataset.
          entry: of this source's listing.
          masks: whether to read outlines and mask images too.
        """


@dataclass(frozen=True)
class Source:
    """One format. Its functions only read files below the folder, and run in worker processes."""

    title: str
    is_here: Callable[[Path, Files], bool]
    """Whether a folder with these files has this format."""
    listing: Callable[[Path], Listing]
    read: Reader
