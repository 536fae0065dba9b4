"""Classification datasets: a folder per class, or a CSV of image and class; each image has one class.

The class of an image becomes an object that covers the whole image, so that
conversion, splits and the detection of duplicates are those of other sources.
"""

import csv
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.counted import counted
from tfrmod.errors import DatasetError
from tfrmod.file_types import is_junk
from tfrmod.pairing import images_of
from tfrmod.problems import Problem
from tfrmod.sources.coordinates import upright_size
from tfrmod.sources.csv_table import DELIMITERS, SEPARATOR_LINE
from tfrmod.sources.files import Files, Names, list_files
from tfrmod.sources.source import Entry, Listing, Reading, Source
from tfrmod.sources.split_names import SET_WORDS, set_name
from tfrmod.text import clean_name, read_text

_FILE_COLUMNS = ("filename", "file", "image", "image_path", "path", "image_id", "id")
_CLASS_COLUMNS = ("label", "class", "class_name", "category", "target")
_MAX_CSV_BYTES = 1 << 28
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


def is_class_folders(folder: Path, files: Files) -> bool:
    """Returns whether all images are in at least two folders, of a split or of the dataset."""
    del folder
    classes = {name for _, name in _places(files.images).values()}
    return "" not in classes and len(classes) >= 2


def list_class_folders(folder: Path) -> Listing:
    """Returns the images of `<class>/…` or `<split>/<class>/…`; the split is train, val or test.

    Raises:
      DatasetError: images are outside of class folders, or there are fewer than two classes.
    """
    files = list_files(folder)
    places = _places(files.images)
    loose = [path for path, (_, name) in places.items() if not name]
    if loose:
        raise DatasetError(
            f"Every image must be in the folder of its class, such as {folder.name}/cat/1.jpg or "
            f"{folder.name}/train/cat/1.jpg. {len(loose)} are not, for example {loose[0]}."
        )
    return _listing(
        folder,
        {path: name for path, (_, name) in places.items()},
        {path: split for path, (split, _) in places.items() if split},
        [Problem("class_without_images", path) for path in _empty_folders(folder, files)],
        "a folder for each class",
    )


def _empty_folders(folder: Path, files: Files) -> list[str]:
    """Returns the folders without images beside those of classes."""
    parents = {PurePosixPath(path).parent for path in files.images}
    beside = {place.parent for place in parents}
    filled = {*parents, *(above for place in parents for above in place.parents)}
    found = [
        place / child.name
        for place in beside
        for child in (folder / place).iterdir()
        if child.is_dir() and not is_junk(child.name)
    ]
    return sorted(str(place) for place in found if place not in filled)


def _places(images: list[str]) -> dict[str, tuple[str, str]]:
    """Returns the split and the class of each image, "" for none; a folder around all others is neither."""
    folders = {path: PurePosixPath(path).parts[:-1] for path in sorted(images)}
    while folders and all(len(parts) > 1 for parts in folders.values()):
        if len({parts[0] for parts in folders.values()}) > 1 or next(iter(folders.values()))[0].lower() in SET_WORDS:
            break
        folders = {path: parts[1:] for path, parts in folders.items()}
    places = {}
    for path, parts in folders.items():
        split = SET_WORDS.get(parts[0].lower(), "") if len(parts) > 1 else ""
        names = parts[1:] if split else parts
        places[path] = (split, names[0] if names else "")
    return places


def is_class_csv(folder: Path, files: Files) -> bool:
    """Returns whether a CSV has a column of images and one of classes, and none of boxes."""
    return any(_columns(folder / path) is not None for path in files.csv)


def list_class_csv(folder: Path) -> Listing:
    """Returns the images with a class in CSV files; a file named train, val or test is that set.

    Raises:
      DatasetError: there is no such CSV, one cannot be read, or there are fewer than two classes.
    """
    files = list_files(folder)
    tables = {path: columns for path in sorted(files.csv) if (columns := _columns(folder / path)) is not None}
    if not tables:
        raise DatasetError(
            f"Expected a CSV in {folder} with a header that names the image ({', '.join(_FILE_COLUMNS[:4])}) and its "
            f"class ({', '.join(_CLASS_COLUMNS[:3])}). Found {len(files.csv)} CSV files, none of which has both."
        )
    problems: list[Problem] = []
    classes: dict[str, str] = {}
    splits: dict[str, str] = {}
    in_doubt: set[str] = set()
    names = Names([*files.images, *files.others])
    for table, columns in tables.items():
        rows = _rows(folder / table, table, columns, problems)
        found = images_of((name for name, _ in rows), names, annotation=table, hint="", problems=problems)
        split = set_name(PurePosixPath(table).stem)
        for name, class_name in rows:
            image = found.get(name)
            if image is None:
                continue
            if classes.setdefault(image, class_name) != class_name:
                problems.append(Problem("annotations_disagree", image, f"{classes[image]} and {class_name} in {table}"))
                in_doubt.add(image)
            if split:
                splits[image] = split
    kept = {image: class_name for image, class_name in classes.items() if image not in in_doubt}
    problems += [Problem("image_without_annotation", image) for image in files.images if image not in classes]
    return _listing(folder, kept, splits, problems, "a row for each image")


class _Columns(NamedTuple):
    """Where a table has the image and the class."""

    image: int
    label: int
    delimiter: str
    first_line: int
    """Number of the lines up to the header, and the header."""


def _columns(path: Path) -> _Columns | None:
    """Returns the columns of the image and the class; None if a CSV lacks either or has boxes."""
    try:
        lines = read_text(path, max_bytes=_MAX_CSV_BYTES).text.splitlines()[:2]
    except (DatasetError, OSError):
        return None
    above = 1 if lines and (stated := SEPARATOR_LINE.fullmatch(lines[0])) else 0
    for delimiter in stated.group(1) if above and stated else DELIMITERS:
        try:
            header = [cell.strip().lower() for cell in next(_table(lines[above:], delimiter), [])]
        except csv.Error:
            continue
        if set(header) & {"xmin", "xmax", "x1", "x_min", "bbox", "width_box"}:
            return None
        image = next((header.index(name) for name in _FILE_COLUMNS if name in header), None)
        label = next((header.index(name) for name in _CLASS_COLUMNS if name in header), None)
        if image is not None and label is not None:
            return _Columns(image, label, delimiter, above + 1)
    return None


def _table(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=True)


def _rows(path: Path, table: str, columns: _Columns, problems: list[Problem]) -> list[tuple[str, str]]:
    rows = []
    text = io.StringIO(read_text(path, max_bytes=_MAX_CSV_BYTES).text)
    for number, cells in enumerate(_table(text, columns.delimiter), start=1):
        if number <= columns.first_line or not cells:
            continue
        image, label = (cells[place].strip() if place < len(cells) else "" for place in columns[:2])
        if image and label:
            rows.append((image, label))
        else:
            problems.append(Problem("line_unreadable", table, f"row {number} lacks the image or the class"))
    return rows


def _listing(
    folder: Path, classes: dict[str, str], splits: dict[str, str], problems: list[Problem], expected: str
) -> Listing:
    cleaned = {path: clean_name(name) for path, name in classes.items()}
    names = _in_order(set(cleaned.values()))
    if len(names) < 2:
        raise DatasetError(
            f"A classifier needs images of two classes or more in {folder}, {expected}. Found {len(names)}"
            f"{f', {names[0]}' if names else ''}, with {counted(len(cleaned), 'image')}."
        )
    if len(set(map(str.casefold, names))) < len(names):
        folded = Counter(name.casefold() for name in names)
        alike = [name for name in names if folded[name.casefold()] > 1]
        problems.append(Problem("class_spelling", alike[0], f"differs from {alike[1]} only in case"))
    entries = tuple(
        Entry(path, path, json.dumps({"class": name}, ensure_ascii=False).encode())
        for path, name in sorted(cleaned.items())
    )
    sets: dict[str, list[int]] = defaultdict(list)
    for position, entry in enumerate(entries):
        if entry.image in splits:
            sets[splits[entry.image]].append(position)
    return Listing(
        entries=entries,
        problems=tuple(problems),
        sets={name: tuple(positions) for name, positions in sets.items()},
        label_map=dict(enumerate(names, start=1)),
    )


def _in_order(names: Iterable[str]) -> list[str]:
    """Returns the names sorted; by value if all are integers, so that 10 follows 2."""
    ordered = sorted(names)
    return sorted(ordered, key=int) if all(_INTEGER.fullmatch(name) for name in ordered) else ordered


def read(folder: Path, entry: Entry, *, masks: bool = False) -> Reading:
    """Returns the image with one object of its class that covers it."""
    del masks
    height, width = upright_size(folder / entry.image)
    name = json.loads(entry.detail)["class"]
    if not height or not width:
        return Reading(None, (Problem("image_undecodable", entry.image),))
    whole = AnnotatedObject(name, (0.0, 0.0, float(height), float(width)))
    return Reading(
        AnnotatedImage(filename=entry.image, objects=(whole,), height=height, width=width, path=folder / entry.image)
    )


CLASS_SOURCES: dict[str, Source] = {
    "class_folders": Source("images in a folder for each class", is_class_folders, list_class_folders, read),
    "class_csv": Source("CSV (a class for each image)", is_class_csv, list_class_csv, read),
}
"""Sources of classification; each image has one object of its class, which covers the image."""
