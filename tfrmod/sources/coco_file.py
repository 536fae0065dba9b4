"""One COCO file, read in a single pass: its content, and the position of each element in the file."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tfrmod.errors import DatasetError
from tfrmod.problems import MAX_CLASS_ID, MAX_CLASSES, MAX_SAME_PROBLEMS, Problem
from tfrmod.sources.coco_objects import Categories, identity, read_categories
from tfrmod.sources.json_stream import Place, packed, pieces

_MAX_PATH_LETTERS = 4096
_MAX_JUNK = 100_000
_WHOLE = re.compile(r"\d{1,18}")
_DIGEST_BITS = (1 << 64) - 1


class ListedImage(NamedTuple):
    """One entry of the list of images."""

    name: str
    place: Place


@dataclass
class CocoFile:
    """Content of one JSON file, except for the objects themselves."""

    path: str
    images: dict[str, list[ListedImage]] = field(default_factory=lambda: defaultdict(list))
    """By id; several if an id is listed several times."""
    objects: dict[str, bytearray] = field(default_factory=lambda: defaultdict(bytearray))
    """Packed positions of the annotations, by the id of their image."""
    digests: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """For each image a number that is equal for equal category ids and boxes, in any order."""
    categories: Categories = field(default_factory=Categories)
    used: Counter[str] = field(default_factory=Counter)
    """Number of annotations of each category id."""
    problems: list[Problem] = field(default_factory=list)
    num_met: Counter[str] = field(default_factory=Counter)
    """Number of problems of each code, including those beyond `MAX_SAME_PROBLEMS`."""

    def report(self, code: str, file: str, message: str) -> None:
        """Adds a problem; beyond the first thousand of a code it is only counted."""
        self.num_met[code] += 1
        if self.num_met[code] <= MAX_SAME_PROBLEMS:
            self.problems.append(Problem(code, file, message))

    def counted(self) -> list[Problem]:
        """Returns the problems, with one entry for the number of further ones of each code."""
        beyond = [(code, met - MAX_SAME_PROBLEMS) for code, met in self.num_met.items() if met > MAX_SAME_PROBLEMS]
        return self.problems + [Problem(code, self.path, f"and {count:,} more of this kind") for code, count in beyond]


def read_file(folder: Path, path: str) -> CocoFile:
    """Returns the content of one file.

    Raises:
      DatasetError: it is not a COCO file.
    """
    file = CocoFile(path)
    categories: list[tuple[Any, Place]] = []
    has_images = False
    num_junk = num_elements = 0
    for key, value, start, num_bytes in pieces(folder / path):
        place = Place(start, num_bytes)
        if key == "images":
            has_images = True
            is_junk = not _add_image(file, value, place)
        elif key == "annotations":
            is_junk = not _add_object(file, value, place)
        elif key == "categories":
            is_junk = False
            categories.append((value, place))
            if len(categories) > MAX_CLASSES:
                raise DatasetError(f"it lists more than {MAX_CLASSES:,} categories, the most that are supported")
        else:
            continue
        num_junk, num_elements = num_junk + is_junk, num_elements + 1
        if num_junk > max(_MAX_JUNK, num_elements // 2):
            raise DatasetError(f"{num_junk:,} of its first {num_elements:,} elements are no images and no annotations")
    if not has_images:
        raise DatasetError("it lists no images")
    file.categories = read_categories(categories)
    for message in file.categories.problems:
        file.report("class_unreadable", path, message)
    for image_id in sorted(file.objects.keys() - file.images.keys()):
        file.report("annotation_without_image", path, f"objects of the id {image_id:.60}, which it does not list")
    return file


def label_map(files: Sequence[CocoFile], problems: list[Problem]) -> dict[int, str] | None:
    """Returns the ids of the files if they agree and a network can have them; None numbers classes by name."""
    names: dict[int, str] = {}
    used: Counter[str] = Counter()
    for file in files:
        used.update(file.used)
        for category_id, name in file.categories.names.items():
            number = int(category_id) if _WHOLE.fullmatch(category_id) else -1
            if number < 0 or names.setdefault(number, name) != name:
                message = f"id {category_id:.60} is {name!r} here, {names.get(number, 'no number')!r} elsewhere"
                problems.append(Problem("label_ids_changed", file.path, f"{message}; numbered alphabetically"))
                return None
    largest = max(names, default=0)
    if largest > max(MAX_CLASS_ID, 2 * len(names)):
        message = (
            f"id {largest} for {len(names)} classes; a network has an output for each number up to the largest id, so "
            "the classes are numbered alphabetically"
        )
        problems.append(Problem("label_ids_changed", files[0].path, message))
        return None
    if 0 in names and not used["0"]:
        del names[0]  # Roboflow's name of the project.
    if 0 in names:
        problems.append(Problem("label_ids_changed", files[0].path, "they begin with 0; 1 was added to each"))
        names = {number + 1: name for number, name in names.items()}
    return _without_doubles(names, files[0].path, problems) or None


def _without_doubles(names: Mapping[int, str], path: str, problems: list[Problem]) -> dict[int, str]:
    first: dict[str, int] = {}
    for number, name in sorted(names.items()):
        if first.setdefault(name, number) != number:
            message = f"{path} gives it the ids {first[name]} and {number}; kept as {first[name]}"
            problems.append(Problem("classes_merged", name, message))
    return {number: name for name, number in first.items()}


def _add_image(file: CocoFile, value: Any, place: Place) -> bool:
    image_id = identity(value.get("id")) if isinstance(value, dict) else None
    name = value.get("file_name") if isinstance(value, dict) else None
    if image_id is None or not isinstance(name, str) or not name.strip() or len(name) > _MAX_PATH_LETTERS:
        message = f"an image without an id and a file_name, at byte {place.start}"
        file.report("line_unreadable", file.path, message)
        return False
    file.images[image_id].append(ListedImage(name, place))
    return True


def _add_object(file: CocoFile, value: Any, place: Place) -> bool:
    image_id = identity(value.get("image_id")) if isinstance(value, dict) else None
    if image_id is None:
        message = f"an annotation without an image_id, at byte {place.start}"
        file.report("object_unreadable", file.path, message)
        return False
    category_id = identity(value.get("category_id"))
    file.objects[image_id] += packed([place])
    file.digests[image_id] += _digest(category_id, value.get("bbox"))
    file.used[str(category_id)] += 1
    return True


def _digest(category_id: str | None, box: Any) -> int:
    try:
        return hash((category_id, tuple(box))) & _DIGEST_BITS
    except TypeError:  # Not a list, or a list of lists: such objects are compared as they are.
        return 1
