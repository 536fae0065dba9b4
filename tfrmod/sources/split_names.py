"""Split names (training, validation, test) in file and folder names."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from tfrmod.sources.source import Entry

SET_WORDS = {
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
# Other words in names of such folders.
_CONTENTS = frozenset(
    "image images img imgs jpegimages photo photos picture pictures data dataset set split annotation annotations "
    "label labels xml xmls txt json voc coco yolo".split()
)


def set_name(words: str) -> str | None:
    """Returns train, val, test or trainval if a name or a cell has it: instances_train2017, VALIDATION."""
    return next((SET_WORDS[word] for word in re.findall(r"[a-z]+", words.lower()) if word in SET_WORDS), None)


def set_of_path(path: str) -> str | None:
    """Returns the set in a file's name, or else in the nearest of its folders."""
    file = PurePosixPath(path)
    return next((name for part in (file.stem, *reversed(file.parts[:-1])) if (name := set_name(part))), None)


def sets_by_folder(entries: Sequence[Entry]) -> dict[str, tuple[int, ...]]:
    """Returns `sets_of_folders` if there are several.

    A single folder named train does not define a split, and would leave no
    images for validation.
    """
    sets = sets_of_folders(entries)
    return sets if len(sets) > 1 else {}


def sets_of_folders(entries: Sequence[Entry]) -> dict[str, tuple[int, ...]]:
    """Returns the indices of the images in folders named as sets, or with annotations in such folders."""
    times = Counter(entry.annotation for entry in entries)
    return grouped(
        (
            set_name_of_folders(entry.image)
            or (set_name_of_folders(entry.annotation) if times[entry.annotation] == 1 else None),
            index,
        )
        for index, entry in enumerate(entries)
    )


def set_name_of_folders(path: str) -> str | None:
    """Returns the set in the name of the nearest folder that has one."""
    return next((name for part in reversed(PurePosixPath(path).parts[:-1]) if (name := _folder_set(part))), None)


def grouped(members: Iterable[tuple[str | None, int]]) -> dict[str, tuple[int, ...]]:
    """Returns {set: its sorted indices}, without those that are in no set."""
    sets: dict[str, set[int]] = defaultdict(set)
    for name, index in members:
        if name is not None:
            sets[name].add(index)
    return {name: tuple(sorted(indices)) for name, indices in sets.items()}


def in_order(
    entries: Mapping[str, Entry], members: Iterable[tuple[str | None, str]]
) -> tuple[tuple[Entry, ...], dict[str, tuple[int, ...]]]:
    """Returns the entries sorted by image, and {set: indices into them}.

    Args:
      entries: by image.
      members: (set or None, image).
    """
    positions = {image: index for index, image in enumerate(sorted(entries))}
    sets = grouped((name, positions[image]) for name, image in members)
    return tuple(entries[image] for image in positions), sets


def _folder_set(folder: str) -> str | None:
    """Returns the set in a folder's name, with an optional year or word for its content: train2017.

    >>> [_folder_set(name) for name in ("Train", "test_images", "VOC2007_val", "trained", "contest")]
    ['train', 'test', 'val', None, None]
    """
    words = [word for word in re.findall(r"[a-z]+", folder.lower()) if word not in _CONTENTS]
    return SET_WORDS.get("".join(words)) if len(words) <= 2 else None
