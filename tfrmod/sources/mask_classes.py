"""What the values and colours of mask pictures mean: classes.txt, _classes.csv, labelmap.txt, or a look at some."""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tfrmod import masks
from tfrmod.errors import DatasetError
from tfrmod.sources.files import Files

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


def meaning(folder: Path, files: Files, pictures: Sequence[str]) -> Meaning:
    """Returns what a paper of the data set says, or else what the first masks show.

    Masks of 0 and 255 alone are of two classes, as programs that paint draw
    them; in others 255 is what must not be counted (VOC).

    Args:
      folder: of the data set.
      files: of it.
      pictures: masks of classes.
    """
    values = _values(folder, pictures)
    is_binary = values == {masks.IGNORED}
    for name in _PAPERS:
        papers = [path for path in (*files.txt, *files.csv) if PurePosixPath(path).name.lower() == name]
        for path in sorted(papers, key=lambda path: (path.count("/"), path)):
            try:
                found = _read(folder / path)
            except (OSError, DatasetError):
                continue
            if found.names:
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


def _read(path: Path) -> Meaning:
    """Reads one paper.

    Raises:
      DatasetError: it is too large.
      OSError: it cannot be opened.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise DatasetError("too large for a list of classes")
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if path.name.lower() == "labelmap.txt":
        return _colored(lines)
    if path.suffix.lower() == ".csv":
        rows = [row for row in csv.reader(lines) if len(row) >= 2 and row[0].strip().isdecimal()]
        return Meaning(_numbered({int(row[0]): row[1].strip() for row in rows if len(row[0]) < 4}))
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
