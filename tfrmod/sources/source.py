"""What a format of annotations must offer to be a source."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tfrmod.annotated_image import AnnotatedImage
from tfrmod.checks import Problem


class Entry(NamedTuple):
    """A photo and the annotation that speaks of it, both relative to the folder, with forward slashes."""

    image: str
    annotation: str


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What lies in a folder, before any photo has been opened."""

    entries: tuple[Entry, ...]
    """Sorted by photo."""
    problems: tuple[Problem, ...] = ()
    sets: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Lists that the data set brings along (train, val, trainval, test): positions in `entries`."""
    set_problems: dict[str, tuple[Problem, ...]] = field(default_factory=dict)
    """What each list names in vain; of interest where the list is used."""


class Reading(NamedTuple):
    """One annotation, read; the image is None where it could not be."""

    image: AnnotatedImage | None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Source:
    """One format. The functions are pure but for reading files, and run in worker processes."""

    title: str
    is_here: Callable[[Path], bool]
    """Whether a folder looks like this format."""
    listing: Callable[[Path], Listing]
    read: Callable[[Path, Entry], Reading]
    """Reads the annotation of one entry; the photo itself is not opened."""
