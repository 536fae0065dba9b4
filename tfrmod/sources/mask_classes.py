"""What the values and colours of mask pictures mean: classes.txt, _classes.csv, labelmap.txt, or a look at some."""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tfrmod import masks
from tfrmod.checks import Problem
from tfrmod.errors import DatasetError
from tfrmod.sources.files import Files
from tfrmod.text import clean_name, read_text

Color = tuple[int, int, int]

_PAPERS = ("labelmap.txt", "_classes.csv", "classes.txt", "labels.txt", "class_names.txt")
_BACKGROUND = re.compile(r"_*(background|bg|void|unlabell?ed|__ignore__)_*", re.IGNORECASE)
_COLORS = re.compile(r"([^:#]+):(\d{1,3}),(\d{1,3}),(\d{1,3})(:|$)")
_MAX_BYTES = 1 << 20
_PROBED = 32


class Meaning(NamedTuple):
    """How to read the masks of one data set."""

    names: dict[int, str]
    """{class id, from 1: name}."""
    numbers: tuple[tuple[int | Color, int], ...] | None = None
    """Pairs of a value or colour and its class id, where the values are not the ids themselves."""
    problems: tuple[Problem, ...] = ()
    """What is doubtful about the files that say so."""


def meaning(folder: Path, files: Files, pictures: Sequence[str]) -> Meaning:
    """Returns what a paper of the data set says, or else what the first masks show.

    Masks of 0 and 255 alone are of two classes, as programs that paint draw
    them; in others 255 is what must not be counted (VOC).

    Args:
      folder: of the data set.
      files: of it.
      pictures: masks of classes.

    Raises:
      DatasetError: a list of classes cannot be read for sure, or two of them
        disagree.
    """
    values = _values(folder, pictures)
    is_binary = values == {masks.IGNORED}
    for name in _PAPERS:
        papers = [path for path in (*files.txt, *files.csv) if PurePosixPath(path).name.lower() == name]
        found = _agreed(folder, sorted(papers, key=lambda path: (path.count("/"), path)))
        if found is not None:
            return found._replace(numbers=((masks.IGNORED, 1),)) if is_binary and not found.numbers else found
    if is_binary or values == {1}:
        return Meaning({1: "object"}, ((masks.IGNORED, 1),) if is_binary else None)
    return Meaning({value: str(value) for value in sorted(values - {masks.IGNORED})})


def _values(folder: Path, pictures: Iterable[str]) -> set[int]:
    """Returns the values but 0 that some of the masks have; colours are not looked at."""
    values: set[int] = set()
    for path in list(pictures)[:_PROBED]:
        try:
            array = masks.png_array((folder / path).read_bytes())
        except (OSError, DatasetError):
            continue
        if array.ndim == 2:
            values.update(int(value) for value in set(array.ravel().tolist()))
    return {value for value in values if 0 < value <= masks.IGNORED}


def _agreed(folder: Path, papers: Sequence[str]) -> Meaning | None:
    """Returns what several files of one name say; None where they name no class.

    Raises:
      DatasetError: one cannot be read, or they disagree.
    """
    first: tuple[str, Meaning] | None = None
    problems: list[Problem] = []
    for path in papers:
        try:
            found, encoding = _read(folder / path)
        except (OSError, DatasetError) as error:
            raise DatasetError(
                f"The list of classes {path} cannot be used: {error}. Mend the file, or remove it if the data set has "
                "another one."
            ) from None
        if encoding:
            problems.append(Problem("encoding_guessed", path, f"it is not UTF-8; read as {encoding}"))
        if not found.names:
            continue
        if first is not None and found != first[1]:
            raise DatasetError(
                f"Two lists of classes disagree, {first[0]} and {path}: {_difference(first[1], found)}. Remove the one "
                "that is wrong, or convert each part of the data set by itself."
            )
        first = first or (path, found)
    return first[1]._replace(problems=tuple(problems)) if first is not None else None


def _difference(one: Meaning, other: Meaning) -> str:
    for number in sorted(one.names.keys() | other.names.keys()):
        if one.names.get(number) != other.names.get(number):
            return f"class {number} is {one.names.get(number)!r} and {other.names.get(number)!r}"
    return "their colours differ"


def _read(path: Path) -> tuple[Meaning, str]:
    """Returns what one file says, and its encoding where that is a guess.

    Raises:
      DatasetError: it is too large, no text, or a name is none.
      OSError: it cannot be opened.
    """
    decoded = read_text(path, max_bytes=_MAX_BYTES)
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", decoded.text.rstrip())]
    if path.name.lower() == "labelmap.txt":
        found = _colored([line for line in lines if line and not line.startswith("#")])
    elif path.suffix.lower() == ".csv":
        rows = [row for row in csv.reader(lines) if len(row) >= 2 and row[0].strip().isdecimal()]
        found = Meaning(_numbered({int(row[0]): row[1].strip() for row in rows if len(row[0].strip()) < 4}))
    else:
        found = _listed([line for line in lines if not line.startswith("#")])
    names = {number: clean_name(name) for number, name in found.names.items()}
    return found._replace(names=names), decoded.encoding if decoded.is_guessed else ""


def _listed(lines: Sequence[str]) -> Meaning:
    """Returns the classes of a text of one name a line.

    Raises:
      DatasetError: a line is blank; the numbers of the names after it would be
        a guess.
    """
    if "" in lines and any(lines):
        raise DatasetError(f"line {lines.index('') + 1} is blank, and it is unclear whether it counts; remove it")
    starts_with_background = bool(lines) and _BACKGROUND.fullmatch(lines[0]) is not None
    return Meaning(_numbered(dict(enumerate(lines, start=0 if starts_with_background else 1))))


def _numbered(names: dict[int, str]) -> dict[int, str]:
    """Returns the classes that a pixel can have, background left out."""
    return {
        number: name
        for number, name in names.items()
        if 0 < number < masks.IGNORED and name and not _BACKGROUND.fullmatch(name)
    }


def _colored(lines: Sequence[str]) -> Meaning:
    """Reads CVAT's lines name:red,green,blue:parts:actions; the classes are numbered as they come."""
    names: dict[int, str] = {}
    numbers: list[tuple[int | Color, int]] = []
    for line in lines:
        match = _COLORS.match(line)
        if match is None:
            continue
        color = (int(match[2]), int(match[3]), int(match[4]))
        if _BACKGROUND.fullmatch(match[1]):
            numbers.append((color, 0))
        elif len(names) < masks.IGNORED - 1:
            names[len(names) + 1] = match[1].strip()
            numbers.append((color, len(names)))
    return Meaning(names, tuple(numbers))
