"""YOLO dataset descriptions: data.yaml, class lists, and the splits that they name."""

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from tfrmod.errors import DatasetError
from tfrmod.file_types import IMAGE_EXTENSIONS
from tfrmod.problems import Problem
from tfrmod.sources.files import Files, Names
from tfrmod.sources.source import Entry
from tfrmod.sources.split_names import grouped, set_name, sets_by_folder
from tfrmod.sources.yolo_lines import LABEL_LINE
from tfrmod.text import MAX_YAML_BYTES, clean_name, load_yaml, read_text

_NAME_LISTS = {"classes.txt", "obj.names", "names.txt", "_darknet.labels", "labels.txt", "predefined_classes.txt"}
_MAX_CLASSES = 100_000
_NAMES_KEY = re.compile(rb"""(^|[\s{,])\0?["']?\0?n\0?a\0?m\0?e\0?s\0?["']?\0?\s*:""")


class DatasetDescription(NamedTuple):
    """Content of one file about the dataset."""

    names: dict[int, str]
    """{class index, from 0: name}."""
    sets: dict[str, tuple[str, ...]] = {}  # noqa: RUF012 - never written to
    """{set: folders, lists of images or images}, as written."""
    keypoints: tuple[int, int] | None = None
    """(number of points, numbers per point) after each box, which are not an outline (pose data)."""
    blanks: tuple[int, ...] = ()
    """Class indices whose line is blank."""
    notes: tuple[tuple[str, str], ...] = ()
    """(code, message) of problems of the file."""


def read_description(path: Path) -> DatasetDescription | None:
    """Returns the description in a YAML or a list of names; None if the file is something else.

    Raises:
      DatasetError: it cannot be read, or has invalid names.
      OSError: it cannot be opened.
    """
    if path.suffix.lower() not in (".yaml", ".yml"):
        return _name_list(path)
    try:
        decoded = read_text(path, max_bytes=MAX_YAML_BYTES)
        content = load_yaml(decoded.text)
    except DatasetError:
        with path.open("rb") as file:
            if not _NAMES_KEY.search(file.read(MAX_YAML_BYTES)):
                return None
        raise
    if not isinstance(content, dict) or not content.keys() & {"names", "kpt_shape"}:
        return None
    notes = _notes_on_encoding(decoded.encoding) if decoded.is_guessed else []
    names = _names(content["names"]) if content.get("names") else {}
    count = content.get("nc")
    if names and count is not None and str(count).strip() != str(len(names)):
        notes.append(("class_list_doubtful", f"nc is {count!s:.20}, and {len(names)} names are given; used the names"))
    root = content.get("path")
    sets = {name: _places(root, content[key]) for key in content if (name := _set_of_key(key))}
    return DatasetDescription(names, sets, _keypoints(content.get("kpt_shape")), notes=tuple(notes))


def list_lines(path: Path) -> tuple[list[str], list[Problem]]:
    """Returns the non-blank lines of a list of images, and problems of the file.

    Raises:
      DatasetError: it is too large, or not text.
      OSError: it cannot be opened.
    """
    decoded = read_text(path)
    problems = [Problem(code, path.name, message) for code, message in _notes_on_encoding(decoded.encoding)]
    return _stripped(decoded.text), problems if decoded.is_guessed else []


def is_name_list(path: str) -> bool:
    """Returns whether a file has the name of a list of class names."""
    name = PurePosixPath(path).name.lower()
    return name in _NAME_LISTS or name.endswith(".names")


def darknet_sets(folder: Path, files: Files) -> dict[str, tuple[str, ...]]:
    """Returns the lists train.txt, valid.txt and test.txt, which have paths of images."""
    return {
        name: (path,)
        for path in files.txt
        if (name := set_name(PurePosixPath(path).stem)) and _names_images(folder / path)
    }


def _name_list(path: Path) -> DatasetDescription | None:
    """Returns the names in a text with one per line; None if it is empty, or is the label file of an image labels.jpg.

    A blank line is a class without a name, as in labelImg; blank lines at the end
    are ignored.

    Raises:
      DatasetError: it cannot be read, or a line is not a name.
      OSError: it cannot be opened.
    """
    decoded = read_text(path)
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", decoded.text.rstrip())]
    if len(lines) > _MAX_CLASSES:
        raise DatasetError(f"it has {len(lines):,} lines, where {_MAX_CLASSES:,} class names are the most")
    if not any(lines) or all(LABEL_LINE.fullmatch(line) for line in lines if line):
        return None
    if not lines[0]:
        raise DatasetError("its first line is blank, and programs differ in counting that; remove the line")
    notes = _notes_on_encoding(decoded.encoding) if decoded.is_guessed else []
    blanks = tuple(index for index, line in enumerate(lines) if not line)
    if blanks:
        message = f"line {blanks[0] + 1} is blank; it counts as a class without a name, as labelImg counts"
        notes.append(("class_list_doubtful", message))
    names = {index: _name(index, line) for index, line in enumerate(lines) if line}
    return DatasetDescription(names, blanks=blanks, notes=tuple(notes))


def _notes_on_encoding(encoding: str) -> list[tuple[str, str]]:
    return [("encoding_guessed", f"it is not UTF-8; read as {encoding}. Save it as UTF-8 to be sure")]


def _names(value: Any) -> dict[int, str]:
    if isinstance(value, list):
        value = {str(index): name for index, name in enumerate(value)}
    if not isinstance(value, dict) or len(value) > _MAX_CLASSES:
        raise DatasetError(f"names is a list of class names, or {{number: name}}, not a {type(value).__name__}")
    names: dict[int, str] = {}
    for index, name in value.items():
        number = int(index) if index.isascii() and index.isdecimal() and len(index) < 7 else -1
        if number < 0 or isinstance(name, dict | list) or not name.split():
            raise DatasetError(f"names gives {index!r} no usable name: a number from 0 and a word are due")
        if number in names:
            raise DatasetError(f"names gives the class {number} two names, {names[number]!r} and {name!r}")
        names[number] = _name(number, name)
    return names


def _name(index: int, text: str) -> str:
    try:
        return clean_name(text)
    except DatasetError as error:
        raise DatasetError(f"class {index}: {error}") from None


def _keypoints(value: Any) -> tuple[int, int] | None:
    """Returns kpt_shape as numbers.

    Raises:
      DatasetError: it is not a pair of numbers.
    """
    if value is None:
        return None
    texts = [each for each in value if isinstance(each, str) and re.fullmatch(r"[0-9]{1,4}", each)]
    numbers = [int(each) for each in texts]
    if not isinstance(value, list) or not len(value) == len(numbers) == 2 or not numbers[0] or numbers[1] not in (2, 3):
        raise DatasetError(f"kpt_shape is a pair [number of keypoints, 2 or 3], such as [17, 3], not {value!s:.60}")
    return numbers[0], numbers[1]


def _set_of_key(key: Any) -> str | None:
    return set_name(key) if key in ("train", "val", "valid", "validation", "test") else None


def _places(root: Any, value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    top = PurePosixPath(root if isinstance(root, str) else "")
    return tuple(str(top / each.strip()) for each in values if isinstance(each, str) and each.strip())


def _names_images(path: Path) -> bool:
    try:
        lines, _ = list_lines(path)
    except (DatasetError, OSError):
        return False
    return bool(lines) and PurePosixPath(lines[0]).suffix.lower().removeprefix(".") in IMAGE_EXTENSIONS


def _stripped(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


Sets = dict[str, tuple[int, ...]]
SetProblems = dict[str, tuple[Problem, ...]]


def read_sets(
    folder: Path, files: Files, described: Mapping[str, DatasetDescription], entries: tuple[Entry, ...]
) -> tuple[Sets, SetProblems, list[Problem]]:
    """Returns each set as indices into `entries`, names without a match, and the reasons why lists are not used.

    Paths in such descriptions are often those of another machine, or relative to
    another folder; the longest matching suffix of each is used. A set whose
    images are in both training and validation is not a split and is ignored.

    Args:
      folder: of the dataset.
      files: of the dataset.
      described: {path of each file that names sets: its content}.
      entries: of the listing.
    """
    images = Names(entry.image for entry in entries)
    positions = {entry.image: index for index, entry in enumerate(entries)}
    members: list[tuple[str | None, int]] = []
    problems: dict[str, list[Problem]] = defaultdict(list)
    for path, description in described.items():
        for name, places in description.sets.items():
            for place in places:
                named, unknown = _images_of(place, folder, files, images, path)
                members += [(name, positions[image]) for image in named]
                problems[name] += unknown
    sets = grouped(members)
    if len(set(sets.values())) < 2:
        by_folder = sets_by_folder(entries)
        in_vain = [each for found in problems.values() for each in found if each.file not in described]
        missing = {
            name: tuple(each for each in found if each.file in described)
            for name, found in problems.items()
            if name not in by_folder
        }
        return by_folder, missing, in_vain
    return sets, {name: tuple(found) for name, found in problems.items()}, []


def _images_of(
    place: str, folder: Path, files: Files, images: Names, description_path: str
) -> tuple[list[str], list[Problem]]:
    """Returns the images of a folder, of a list, or the one image, that a path names."""
    parts = [part for part in PurePosixPath(place.replace("\\", "/")).parts if part not in ("..", ".", "/")]
    for end in ("/".join(parts[index:]) for index in range(len(parts))):
        for top in dict.fromkeys((PurePosixPath(description_path).parent, PurePosixPath())):
            path = str(top / end)
            within = [image for image in images.paths if image.startswith(f"{path}/")]
            if within:
                return within, []
            if path in files.txt:
                return _listed(folder, path, images)
            if path in images.paths:
                return [path], []
    return [], [Problem("set_lists_unknown", description_path, place)]


def _listed(folder: Path, path: str, images: Names) -> tuple[list[str], list[Problem]]:
    try:
        lines, unknown = list_lines(folder / path)
    except (DatasetError, OSError) as error:
        return [], [Problem("annotation_malformed", path, str(error))]
    named = []
    for line in lines:
        found = images.find(line, near=path)
        if len(found) == 1:
            named += found
        else:
            doubt = f" fits {', '.join(found[:3])}" if found else ""
            unknown.append(Problem("set_lists_unknown", path, f"{line}{doubt}"))
    return named, unknown
