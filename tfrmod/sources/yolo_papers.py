"""The papers of a YOLO data set: data.yaml, obj.data, obj.names, classes.txt, and its lists of photos."""

import itertools
import re
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import yaml

from tfrmod.checks import Problem
from tfrmod.content import PHOTO_EXTENSIONS
from tfrmod.errors import DatasetError
from tfrmod.sources.files import Files
from tfrmod.sources.set_names import set_name

_NAME_LISTS = {"classes.txt", "obj.names", "names.txt", "_darknet.labels", "labels.txt", "predefined_classes.txt"}
_MAX_BYTES = 64 << 20
_MAX_YAML_BYTES = 1 << 20
_MAX_DEPTH = 50
_MAX_CLASSES = 100_000


class Papers(NamedTuple):
    """What one file says about the data set."""

    names: dict[int, str]
    """{class index, from 0: name}."""
    sets: dict[str, tuple[str, ...]] = {}  # noqa: RUF012 - never written to
    """{set: folders, lists of photos or photos that it is said to consist of}, as they are written."""
    has_keypoints: bool = False
    """What follows the box on a line is no outline (pose data)."""


def find_papers(folder: Path, files: Files) -> tuple[str, Papers | None, list[Problem]]:
    """Returns the file that names the classes, what it says, and those that could not be read.

    A YAML goes before a list of names, and what lies nearer to the top before
    the rest.
    """
    problems = []
    lists = [path for path in (*files.txt, *files.others) if _is_name_list(path)]
    for path in (*sorted(files.yaml, key=_depth), *sorted(lists, key=_depth)):
        try:
            papers = read_papers(folder / path)
        except (DatasetError, OSError) as error:
            problems.append(Problem("annotation_malformed", path, str(error)))
            continue
        if papers is not None:
            darknet = _darknet_sets(folder, files) if not papers.sets else {}
            return path, papers._replace(sets=papers.sets or darknet), problems
    return "", None, problems


def read_papers(path: Path) -> Papers | None:
    """Returns what a YAML or a list of names says; None where it is about something else.

    Raises:
      DatasetError: it cannot be read, or its names are none.
      OSError: it cannot be opened.
    """
    if path.suffix.lower() not in (".yaml", ".yml"):
        return Papers({index: " ".join(line.split()) for index, line in enumerate(list_lines(path))})
    content = _yaml(_text(path, _MAX_YAML_BYTES))
    if not isinstance(content, dict) or "names" not in content:
        return None
    root = content.get("path")
    sets = {name: _places(root, content[key]) for key in content if (name := _set_of_key(key))}
    return Papers(_names(content["names"]), sets, "kpt_shape" in content)


def list_lines(path: Path) -> list[str]:
    """Returns the lines of a list of photos that say something.

    Raises:
      DatasetError: too large, or no text.
      OSError: it cannot be opened.
    """
    return [line.strip() for line in _text(path).splitlines() if line.strip()]


def _yaml(text: str) -> Any:
    """Returns what a YAML says in plain values; tags and aliases are refused, of which a few expand without end."""
    depth = itertools.accumulate(1 if letter in "[{" else -1 for letter in re.findall(r"[\[\]{}]", text))
    if max(depth, default=0) > _MAX_DEPTH:  # PyYAML takes the square of the depth.
        raise DatasetError(f"it is nested more than {_MAX_DEPTH} deep")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise DatasetError("it uses aliases (*name), which are refused because they can expand without end")
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DatasetError(f"not a YAML of plain values: {' '.join(str(error).split())}") from error


def _is_name_list(path: str) -> bool:
    name = PurePosixPath(path).name.lower()
    return name in _NAME_LISTS or name.endswith(".names")


def _depth(path: str) -> tuple[int, str]:
    return path.count("/"), path


def _set_of_key(key: Any) -> str | None:
    return set_name(key) if key in ("train", "val", "valid", "validation", "test") else None


def _names(value: Any) -> dict[int, str]:
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or len(value) > _MAX_CLASSES:
        raise DatasetError(f"names is a list of class names, or {{number: name}}, not a {type(value).__name__}")
    names = {}
    for index, name in value.items():
        number = int(index) if str(index).isdecimal() and len(str(index)) < 7 else -1
        if number < 0 or isinstance(name, dict | list) or not str(name).split():
            raise DatasetError(f"names gives {index!r} no usable name: a number from 0 and a word are due")
        names[number] = " ".join(str(name).split())
    return names


def _places(root: Any, value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    top = PurePosixPath(root if isinstance(root, str) else "")
    return tuple(str(top / each.strip()) for each in values if isinstance(each, str) and each.strip())


def _darknet_sets(folder: Path, files: Files) -> dict[str, tuple[str, ...]]:
    """Returns the lists train.txt, valid.txt and test.txt, where photos are named by path."""
    return {
        name: (path,)
        for path in files.txt
        if (name := set_name(PurePosixPath(path).stem)) and _names_photos(folder / path)
    }


def _names_photos(path: Path) -> bool:
    try:
        lines = list_lines(path)
    except (DatasetError, OSError):
        return False
    return bool(lines) and PurePosixPath(lines[0]).suffix.lower().removeprefix(".") in PHOTO_EXTENSIONS


def _text(path: Path, max_bytes: int = _MAX_BYTES) -> str:
    if path.stat().st_size > max_bytes:
        raise DatasetError(f"more than {max_bytes >> 20} MiB")
    return path.read_text(encoding="utf-8-sig", errors="replace")
