"""Which images without a label file are backgrounds, as YOLO has it, and which only lie in the same data set."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from tfrmod.errors import DatasetError
from tfrmod.image_file import check_photo
from tfrmod.near_duplicates import NEAR
from tfrmod.problems import Problem
from tfrmod.sources.pairing import num_trailing
from tfrmod.sources.split_names import set_name_of_folders
from tfrmod.sources.yolo_pairing import IMAGE_FOLDER, Pairing, stem_key

# What a training with YOLO draws.
_PLOTS = re.compile(
    r"results|confusion_matrix(_normalized)?|(\w+_)?curve|(train|val|test)_batch\d+(_labels|_pred)?|"
    r"labels(_correlogram)?",
    re.IGNORECASE,
)
# Bits of `likeness.difference_hash` in which a copy may differ, even with boxes drawn on it.
_COPY = 16
# So many images without label files for each label file without an image: then which belongs to which is unknown.
_PER_LOST_LABEL = 10

Folders = tuple[str, ...]


def sorted_out(folder: Path, images: Sequence[str], pairing: Pairing) -> tuple[set[str], list[Problem]]:
    """Returns the images without objects, and the problem of every other image without a label file.

    An image without a label file is a background where it lies among images
    with one. It is left out where it may be labelled after all: a copy of a
    labelled one, a part of the data without any label file, or one whose label
    file may be among those that belong to no image.

    Args:
      folder: of the data set.
      images: all of them.
      pairing: of them and the label files.
    """
    left_out = [image for image in images if image not in pairing.labels and image not in pairing.doubtful]
    homes = _Homes(pairing.labels)
    twins: dict[str, str] = {}
    for image in pairing.labels:
        twins.setdefault(stem_key(image), image)
    backgrounds: list[str] = []
    problems = []
    for image in left_out:
        reason = homes.why_not(image)
        twin = twins.get(stem_key(image))
        if not reason and twin is not None and are_alike(folder / image, folder / twin, max_distance=_COPY):
            reason = f"it has the name of {twin}, which has a label file, and shows the same"
        if reason:
            problems.append(Problem("image_without_annotation", image, reason))
        else:
            backgrounds.append(image)
    lost = [text for text in pairing.left if (folder / text).stat().st_size]
    if lost and len(lost) * _PER_LOST_LABEL >= len(backgrounds):
        reason = f"its label file may be one of the {len(lost)} that belong to no image, such as {lost[0]}"
        problems += [Problem("image_without_annotation", image, reason) for image in backgrounds]
        backgrounds = []
    problems += [Problem("image_unlabelled", image) for image in backgrounds]
    return set(backgrounds), problems


def are_alike(one: Path, other: Path, *, max_distance: int = NEAR) -> bool:
    """Returns whether two image files show the same, or cannot be compared.

    Args:
      one: a file.
      other: a file.
      max_distance: bits of `likeness.difference_hash` in which they may differ.
    """
    try:
        hashes = [check_photo(path.read_bytes()).likeness or 0 for path in (one, other)]
    except (DatasetError, OSError):
        return True
    return (hashes[0] ^ hashes[1]).bit_count() <= max_distance


class _Homes:
    """The folders in which images with label files lie."""

    def __init__(self, labels: dict[str, str]) -> None:
        self._flat: set[Folders] = set()
        """Folders with label files in or below them: what lies deeper may be anything."""
        self._roots: set[Folders] = set()
        """Folders of images alone, whose label files lie elsewhere."""
        self._sets: set[Folders] = set()
        for image, label in labels.items():
            here, there = _folders(image), _folders(label)
            root = here[: len(here) - num_trailing(here, there)]
            if there[: len(root)] == root:
                self._flat.add(here)
            else:
                self._roots.add(root)
            self._sets.update(_set_folders(image))

    def why_not(self, image: str) -> str:
        """Returns why an image does not count as one of the data set; "" where it does."""
        file, here = PurePosixPath(image), _folders(image)
        if _PLOTS.fullmatch(file.stem):
            return "it has the name of a plot that a training draws"
        is_home = (
            here in self._flat
            or any(here[:count] in self._roots for count in range(1, len(here) + 1))
            or any(IMAGE_FOLDER.fullmatch(part) for part in here)
        )
        if not is_home:
            return "it lies outside of the folders of the images with label files"
        without = [place for place in _set_folders(image) if place not in self._sets]
        return f"no image in {'/'.join(without[0])} has a label file" if without else ""


def _set_folders(image: str) -> Iterable[Folders]:
    """Returns the folder of an image that is named after a set (train, val, test), if there is one."""
    here = _folders(image)
    for count in range(len(here), 0, -1):
        if set_name_of_folders("/".join((here[count - 1], "x"))):
            return [here[:count]]
    return []


def _folders(path: str) -> Folders:
    return PurePosixPath(path).parts[:-1]
