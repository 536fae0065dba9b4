"""CSV files row by row, each with its place in the file, and what the columns of a table of boxes mean."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tfrmod.content import PHOTO_EXTENSIONS
from tfrmod.sources.places import Place
from tfrmod.sources.set_names import set_name

_MAX_LINE_BYTES = 1 << 20
_HEAD_BYTES = 1 << 16
_DELIMITERS = ",;\t|"
# What headers call the columns, without signs and capitals.
_HEADERS = {
    "photo": ("filename", "image", "imagepath", "imagename", "imageid", "path", "file", "filepath", "img", "imageuri"),
    "name": ("class", "label", "classname", "labelname", "name", "category", "labels"),
    "xmin": ("xmin", "x1", "left", "bboxxmin", "bboxx1", "x0", "minx"),
    "ymin": ("ymin", "y1", "top", "bboxymin", "bboxy1", "y0", "miny"),
    "xmax": ("xmax", "x2", "right", "bboxxmax", "bboxx2", "maxx"),
    "ymax": ("ymax", "y2", "bottom", "bboxymax", "bboxy2", "maxy"),
    "width": ("width", "imagewidth", "imgwidth"),
    "height": ("height", "imageheight", "imgheight"),
    "set": ("set", "split", "subset", "mluse", "usage"),
    "difficult": ("difficult", "isdifficult"),
    "truncated": ("truncated", "istruncated"),
    "is_crowd": ("iscrowd", "isgroupof"),
}
_NEEDED = ("photo", "name", "xmin", "ymin", "xmax", "ymax")


class Layout(NamedTuple):
    """How a table is written."""

    delimiter: str
    has_header: bool
    columns: dict[str, int]
    """{what is in it: position}; see `_HEADERS`."""
    corners: tuple[tuple[int, int], ...]
    """Positions of x and y of each corner."""


class Row(NamedTuple):
    """One row and where it lies."""

    cells: list[str]
    place: Place

    def cell(self, layout: Layout, name: str) -> str:
        """Returns what a column holds, "" where there is no such column or the row is too short."""
        position = layout.columns.get(name, len(self.cells))
        return self.cells[position].strip() if position < len(self.cells) else ""


def layout_of(path: Path) -> Layout | None:
    """Returns how a table of boxes is written, None where a file is no such table.

    Three kinds have no header: AutoML's (set, path, label, x, y, , , x, y, , ),
    the same without the set, and RetinaNet's (path, x, y, x, y, label).
    """
    try:
        with path.open("rb") as file:
            head = _text(file.read(_HEAD_BYTES))
    except OSError:
        return None
    lines = [line for line in head.splitlines() if line.strip()][:1]
    for delimiter in _DELIMITERS:
        try:
            cells = next(csv.reader(lines, delimiter=delimiter), [])
        except csv.Error:
            continue
        layout = _with_header(cells, delimiter) or _without_header(cells, delimiter)
        if layout is not None:
            return layout
    return None


def rows(path: Path, layout: Layout) -> Iterator[Row | Place]:
    """Yields the rows below the header; in place of a row that cannot be read, its place.

    Raises:
      OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        ends = [0]

        def lines() -> Iterator[str]:
            while line := file.readline(_MAX_LINE_BYTES):
                ends.append(ends.pop() + len(line))
                yield _text(line)

        source = lines()
        is_first = layout.has_header
        while True:
            start = ends[-1]
            try:
                # A reader a row: what an unreadable one leaves behind does not reach the next.
                cells = next(csv.reader(source, delimiter=layout.delimiter), None)
            except csv.Error:
                yield Place(start, ends[-1] - start)
                continue
            if cells is None:
                return
            if cells and not is_first:
                yield Row(cells, Place(start, ends[-1] - start))
            is_first = is_first and not cells


def row_at(data: bytes, place: Place, layout: Layout) -> Row | None:
    """Returns the row that some bytes spell, None where they spell none."""
    try:
        cells = next(csv.reader(_text(data).splitlines(keepends=True), delimiter=layout.delimiter), [])
    except csv.Error:
        return None
    return Row(cells, place) if cells else None


def _with_header(cells: Sequence[str], delimiter: str) -> Layout | None:
    names = ["".join(filter(str.isalnum, cell)).lower() for cell in cells]
    columns = {}
    for key, words in _HEADERS.items():
        position = next((names.index(word) for word in words if word in names), None)
        if position is not None:
            columns[key] = position
    if not all(key in columns for key in _NEEDED):
        return None
    corners = ((columns["xmin"], columns["ymin"]), (columns["xmax"], columns["ymax"]))
    return Layout(delimiter, True, columns, corners)


def _without_header(cells: Sequence[str], delimiter: str) -> Layout | None:
    if len(cells) >= 10:
        first = next((position for position in (0, 1) if _is_photo(cells[position])), None)
        if first == 0 or (first == 1 and (set_name(cells[0]) or cells[0].strip().upper() in ("", "UNASSIGNED"))):
            columns = {"photo": first, "name": first + 1} | ({"set": 0} if first else {})
            return Layout(delimiter, False, columns, tuple((first + x, first + x + 1) for x in (2, 4, 6, 8)))
    if len(cells) == 6 and _is_photo(cells[0]) and all(not cell.strip() or _is_number(cell) for cell in cells[1:5]):
        return Layout(delimiter, False, {"photo": 0, "name": 5}, ((1, 2), (3, 4)))
    return None


def _is_photo(cell: str) -> bool:
    return PurePosixPath(cell.strip().replace("\\", "/")).suffix.lower().removeprefix(".") in PHOTO_EXTENSIONS


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").removeprefix("\ufeff").replace("\0", "\ufffd")
