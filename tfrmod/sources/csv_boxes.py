"""CSV: a table with one box per row, TensorFlow's with a header or AutoML's without."""

import functools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject, Box
from tfrmod.counted import counted
from tfrmod.errors import DatasetError
from tfrmod.pairing import images_of
from tfrmod.problems import MAX_SAME_PROBLEMS, Problem
from tfrmod.sources.coordinates import upright_size
from tfrmod.sources.csv_table import Layout, Row, layout_of, row_at, rows, with_encoding
from tfrmod.sources.files import Files, Names, list_files
from tfrmod.sources.json_stream import packed, read_places, unpacked
from tfrmod.sources.source import Entry, Listing, Reading
from tfrmod.sources.split_names import in_order, set_name, set_of_path
from tfrmod.text import clean_name

# Fractions may exceed the edge by rounding; a table has fractions if nearly all of its coordinates may be fractions.
_MAX_SHARE = 1.01
_FARTHEST = 1.5
_NEARLY_ALL = 0.9
_DIGEST_BITS = (1 << 64) - 1


@dataclass
class _Rows:
    """The rows of one image."""

    places: bytearray = field(default_factory=bytearray)
    """Packed."""
    sets: set[str | None] = field(default_factory=set)
    """Sets that the rows name."""
    digest: int = 0
    """A number that is equal for equal classes and corners, in any order."""
    num_corners: int = 0
    num_shares: int = 0
    """Number of corners whose coordinates may be fractions of the image."""

    def add(self, row: Row, layout: Layout) -> None:
        """Adds one row."""
        corners = _corners(row, layout)
        self.places += packed([row.place])
        self.sets.add(set_name(row.cell(layout, "set")) if "set" in layout.columns else None)
        self.digest += hash((row.cell(layout, "name"), *corners)) & _DIGEST_BITS
        self.num_corners += len(corners)
        for x, y in corners:
            self.num_shares += abs(x) <= _MAX_SHARE and abs(y) <= _MAX_SHARE


@dataclass
class _Table:
    """Content of one file."""

    path: str
    images: dict[str, _Rows]
    num_rows: int

    @property
    def num_corners(self) -> int:
        return sum(rows.num_corners for rows in self.images.values())

    @property
    def is_of_shares(self) -> bool:
        return sum(rows.num_shares for rows in self.images.values()) >= _NEARLY_ALL * self.num_corners


def is_here(folder: Path, files: Files) -> bool:
    """Returns whether any CSV is a table of boxes."""
    return any(layout_of(folder / path) for path in files.csv)


def listing(folder: Path) -> Listing:
    """Returns the images in tables, with the sets of a column or of the tables' names.

    Raises:
      DatasetError: there is no table of boxes, or none has a usable image.
    """
    files = list_files(folder)
    names = Names([*files.images, *files.others])
    problems: list[Problem] = []
    tables, is_table = [], False
    for path in files.csv:
        if layout_of(folder / path) is None:
            continue
        is_table = True
        try:
            tables.append(_table(folder, path, names, problems))
        except (DatasetError, OSError) as error:
            problems.append(Problem("annotation_malformed", path, str(error)))
    if not is_table:
        raise DatasetError(
            f"Expected a CSV table of boxes in {folder}: with a header (filename, width, height, class, xmin, ymin, "
            "xmax, ymax), or as AutoML has it (set, path, label, xmin, ymin, , , xmax, ymax, , ). Found none among "
            f"{len(files.csv)} CSV files."
        )
    if not tables:
        table, message = problems[0].file, problems[0].message
        raise DatasetError(f"No CSV table of boxes in {folder} can be read. {table}: {message}.")
    entries, sets = _entries(_with_truth(tables), problems)
    if not entries:
        example = f"For example {problems[0].file}: {problems[0].message}." if problems else ""
        raise DatasetError(
            f"Of {counted(sum(table.num_rows for table in tables), 'row')} in the CSV tables in {folder}, none names "
            f"an image that exists and can be used; there are {len(files.images)}. {example}".rstrip()
        )
    used = {entry.image for entry in entries} | {problem.file for problem in problems}
    problems += [Problem("image_without_annotation", image) for image in files.images if image not in used]
    return Listing(entries=entries, problems=tuple(problems), sets=sets)


def _entries(tables: Sequence[_Table], problems: list[Problem]) -> tuple[tuple[Entry, ...], dict[str, tuple[int, ...]]]:
    """Returns the images on which the tables agree, sorted, and {set: positions among them}."""
    entries: dict[str, Entry] = {}
    digests: dict[str, int] = {}
    disagreed: set[str] = set()
    members = []
    for table in tables:
        is_of_shares = table.is_of_shares
        for image, found in table.images.items():
            entry = Entry(image, table.path, bytes([is_of_shares]) + bytes(found.places))
            members += [(name or set_of_path(table.path), image) for name in sorted(found.sets, key=str)]
            first = entries.setdefault(image, entry)
            if digests.setdefault(image, found.digest) != found.digest:
                problems.append(Problem("annotations_disagree", image, f"{first.annotation} and {table.path}"))
                disagreed.add(image)
    for image in disagreed:
        del entries[image]
    return in_order(entries, ((name, image) for name, image in members if image in entries))


def read(folder: Path, entry: Entry, *, masks: bool = False) -> Reading:
    """Returns the annotation of one image; boxes in pixels, as stated or converted from fractions."""
    path = folder / entry.annotation
    try:
        layout = _layout(path, path.stat().st_mtime_ns)
        places = unpacked(entry.detail[1:])
        found = [row_at(data, place, layout) for data, place in zip(read_places(path, places), places, strict=True)]
    except (DatasetError, OSError) as error:
        return Reading(None, (Problem("annotation_malformed", entry.annotation, str(error)),))
    image = AnnotatedImage(filename=entry.image, path=folder / entry.image)
    is_of_shares = _is_of_shares([_corners(row, layout) for row in found if row], is_usual=bool(entry.detail[0]))
    height, width = upright_size(folder / entry.image) if is_of_shares else _stated_size(found, layout)
    if is_of_shares and not height:
        return Reading(image)
    objects, problems = [], []
    if is_of_shares != bool(entry.detail[0]):
        unit, other = ("fractions of the image", "pixels") if is_of_shares else ("pixels", "fractions of the image")
        message = f"read as {unit}, where most of {entry.annotation} is in {other}"
        problems.append(Problem("unit_differs", entry.image, message))
    for row in found:
        try:
            obj = _object(row, layout, (height, width) if is_of_shares else None)
        except DatasetError as error:
            place = row.place.start if row else 0
            problems.append(Problem("object_unreadable", entry.image, f"{entry.annotation}, byte {place}: {error}"))
            continue
        if obj is not None:
            objects.append(obj)
    return Reading(replace(image, objects=tuple(objects), height=height, width=width), tuple(problems))


def _with_truth(tables: list[_Table]) -> list[_Table]:
    """Returns the tables without those of a test set that have no boxes, if other tables have boxes.

    They do not state that their images have no objects.
    """
    if not any(table.num_corners for table in tables):
        return tables
    return [table for table in tables if table.num_corners or set_of_path(table.path) != "test"]


def _table(folder: Path, path: str, names: Names, problems: list[Problem]) -> _Table:
    """Reads a whole table, keeping only the positions of its rows.

    Raises:
      DatasetError: its encoding is unknown, or its columns are ambiguous.
      OSError: it cannot be opened.
    """
    layout = _layout(folder / path, (folder / path).stat().st_mtime_ns)
    if layout.doubt:
        raise DatasetError(f"{layout.doubt}, and differ; delete one of them, or rename it")
    if layout.is_guessed:
        problems.append(Problem("encoding_guessed", path, f"read as {layout.encoding}"))
    named: dict[str, _Rows] = defaultdict(_Rows)
    num_rows = num_unreadable = 0
    for row in rows(folder / path, layout):
        if isinstance(row, Row):
            num_rows += 1
            named[row.cell(layout, "image")].add(row, layout)
            continue
        num_unreadable += 1
        if num_unreadable <= MAX_SAME_PROBLEMS:
            problems.append(Problem("line_unreadable", path, f"at byte {row.start}"))
    if num_unreadable > MAX_SAME_PROBLEMS:
        message = f"and {num_unreadable - MAX_SAME_PROBLEMS:,} more of this kind"
        problems.append(Problem("line_unreadable", path, message))
    images = images_of(named, names, annotation=path, hint=set_of_path(path) or "", problems=problems)
    return _Table(path, {image: named[name] for name, image in images.items()}, num_rows)


def _is_of_shares(boxes: Sequence[Sequence[tuple[float, float]]], *, is_usual: bool) -> bool:
    """Returns whether the boxes of one image are in fractions of it.

    In a table of pixels, an image has fractions only if all of its boxes may be
    fractions and some coordinate is not an integer: (0, 0, 1, 1) is a pixel.

    Args:
      boxes: corners of each row.
      is_usual: whether nearly all of the table is in fractions.
    """
    boxes = [corners for corners in boxes if corners]
    may_be = [all(abs(side) <= _MAX_SHARE for corner in corners for side in corner) for corners in boxes]
    if not boxes:
        return is_usual
    if is_usual:
        return 2 * sum(may_be) >= len(may_be)
    return all(may_be) and any(side % 1 for corners in boxes for corner in corners for side in corner)


def _object(row: Row | None, layout: Layout, size: tuple[int, int] | None) -> AnnotatedObject | None:
    """Returns the object of a row, None if it states that the image has none.

    Args:
      row: read again from its position.
      layout: of the table.
      size: (height, width) of the image, of which the coordinates are fractions; None if they are pixels.

    Raises:
      DatasetError: it has no printable name, or no box.
    """
    if row is None:
        raise DatasetError("the row is not where it was; did the file change?")
    stated_name = row.cell(layout, "name")
    stated = [cell for x, y in layout.corners for cell in row.cells[x : x + 1] + row.cells[y : y + 1] if cell.strip()]
    if not stated_name and not stated:
        return None
    if not stated_name:
        raise DatasetError("a box without a class")
    name = clean_name(stated_name)
    corners = _corners(row, layout)
    if len(corners) < 2 or not all(map(math.isfinite, (side for corner in corners for side in corner))):
        raise DatasetError(f"{name}: a coordinate is missing or not a number")
    across, down = [x for x, _ in corners], [y for _, y in corners]
    if size is not None:
        if any(abs(side) > _FARTHEST for side in (*across, *down)):
            raise DatasetError(f"{name}: a coordinate beyond 1, where the others of the image are fractions of it")
        across, down = [x * size[1] for x in across], [y * size[0] for y in down]
    elif all(abs(side) <= _MAX_SHARE for side in (*across, *down)) and any(side % 1 for side in (*across, *down)):
        raise DatasetError(f"{name}: coordinates between 0 and 1, where the others of the image are pixels")
    box: Box = (down[0], across[0], down[-1], across[-1])
    if len(corners) > 2:
        box = (min(down), min(across), max(down), max(across))
    return AnnotatedObject(
        name,
        box,
        difficult=_is_set(row.cell(layout, "difficult")),
        truncated=_is_set(row.cell(layout, "truncated")),
        is_crowd=_is_set(row.cell(layout, "is_crowd")),
    )


def _corners(row: Row, layout: Layout) -> list[tuple[float, float]]:
    """Returns the corners with numeric coordinates."""
    corners = []
    for x, y in layout.corners:
        try:
            corners.append((_number(row.cells[x], layout), _number(row.cells[y], layout)))
        except (ValueError, IndexError):
            continue
    if layout.is_sized and len(corners) == 2:
        (left, top), (width, height) = corners
        corners[1] = (left + width, top + height)
    return corners


def _number(cell: str, layout: Layout) -> float:
    """Returns the number in a cell; if the delimiter is not a comma, the decimal separator may be one."""
    return float(cell if layout.delimiter == "," else cell.replace(",", "."))


def _stated_size(found: Sequence[Row | None], layout: Layout) -> tuple[int, int]:
    """Returns (height, width) in the first row, 0 if it has no valid value."""
    row = next(filter(None, found), None)
    if row is None:
        return 0, 0
    height, width = (_pixels(row.cell(layout, name)) for name in ("height", "width"))
    return height, width


def _pixels(cell: str) -> int:
    try:
        return max(0, int(float(cell)))
    except (ValueError, OverflowError):
        return 0


def _is_set(cell: str) -> bool:
    return cell.lower() in ("1", "true", "yes")


@functools.lru_cache(maxsize=16)
def _layout(path: Path, changed: int) -> Layout:
    """Returns the layout of a table; cached in each process until the file changes."""
    layout = layout_of(path)
    if layout is None:
        raise DatasetError("it is no longer a table of boxes; did the file change?")
    return with_encoding(path, layout)
