"""What data sets call their parts for training, validation and test, in file and folder names."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from tfrmod.sources.source import Entry

_SETS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "minival": "val",
    "eval": "val",
    "test": "test",
    "testing": "test",
    "trainval": "trainval",
}


def set_name(words: str) -> str | None:
    """Returns train, val, test or trainval where a name or a cell says so: instances_train2017, VALIDATION."""
    return next((_SETS[word] for word in re.findall(r"[a-z]+", words.lower()) if word in _SETS), None)


def set_of_path(path: str) -> str | None:
    """Returns the set that a file's name says, or else the nearest of its folders."""
    file = PurePosixPath(path)
    return next((name for part in (file.stem, *reversed(file.parts[:-1])) if (name := set_name(part))), None)


def sets_by_folder(entries: Sequence[Entry]) -> dict[str, tuple[int, ...]]:
    """Returns the positions of the photos that lie in folders named as sets; {} where only one set is named.

    A single folder called train says nothing about the others, and would leave
    nothing to validate on.
    """
    sets = grouped((set_name_of_folders(entry.image), index) for index, entry in enumerate(entries))
    return sets if len(sets) > 1 else {}


def set_name_of_folders(path: str) -> str | None:
    """Returns the set that the nearest folder names that names one."""
    return next((name for part in reversed(PurePosixPath(path).parts[:-1]) if (name := _folder_set(part))), None)


def grouped(members: Iterable[tuple[str | None, int]]) -> dict[str, tuple[int, ...]]:
    """Returns {set: its positions, sorted}, what belongs to none left out."""
    sets: dict[str, set[int]] = defaultdict(set)
    for name, index in members:
        if name is not None:
            sets[name].add(index)
    return {name: tuple(sorted(indices)) for name, indices in sets.items()}


def in_order(
    entries: Mapping[str, Entry], members: Iterable[tuple[str | None, str]]
) -> tuple[tuple[Entry, ...], dict[str, tuple[int, ...]]]:
    """Returns the entries sorted by photo, and {set: positions among them}.

    Args:
      entries: by photo.
      members: (set or None, photo).
    """
    positions = {photo: index for index, photo in enumerate(sorted(entries))}
    sets = grouped((name, positions[photo]) for name, photo in members)
    return tuple(entries[photo] for photo in positions), sets


def _folder_set(folder: str) -> str | None:
    """Returns the set of a folder that bears the name of one, perhaps with a year: train2017."""
    return _SETS.get(re.sub(r"[\W\d_]+", "", folder.lower()))
