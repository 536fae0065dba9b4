"""CSV tables of boxes: layout of the columns, and rows with their position in the file."""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from tfrmod.errors import DatasetError
from tfrmod.file_types import IMAGE_EXTENSIONS
from tfrmod.sources.json_stream import Place
from tfrmod.sources.split_names import set_name
from tfrmod.text import MAX_TEXT_BYTES, decode_text, read_text

HEAD_BYTES = 1 << 17
DELIMITERS = ",;\t|"
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_MAX_LINES_ABOVE = 10
_MAX_ROWS = 1000
_NEARLY_ALL = 0.9
# Column names in headers, in lower case without punctuation.
_IMAGE = ("filename", "image", "imagepath", "imagename", "imageid", "path", "file", "filepath", "img", "imageuri")
_CLASS_NAME = ("classname", "labelname", "categoryname", "classlabel", "objectname", "objectclass", "labeltext")
_CLASS = ("class", "label", "category", "labels", "object", "name")
_HEADERS = {
    "xmin": ("xmin", "x1", "left", "bboxxmin", "bboxx1", "x0", "minx"),
    "ymin": ("ymin", "y1", "top", "bboxymin", "bboxy1", "y0", "miny"),
    "xmax": ("xmax", "x2", "right", "bboxxmax", "bboxx2", "maxx"),
    "ymax": ("ymax", "y2", "bottom", "bboxymax", "bboxy2", "maxy"),
    "left": ("bboxx", "boxx", "bboxleft"),
    "top": ("bboxy", "boxy", "bboxtop"),
    "box_width": ("bboxwidth", "bboxw", "boxwidth"),
    "box_height": ("bboxheight", "bboxh", "boxheight"),
    "width": ("width", "imagewidth", "imgwidth"),
    "height": ("height", "imageheight", "imgheight"),
    "set": ("set", "split", "subset", "mluse", "usage"),
    "difficult": ("difficult", "isdifficult"),
    "truncated": ("truncated", "istruncated"),
    "is_crowd": ("iscrowd", "isgroupof"),
}
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_SIDES = ("left", "top", "box_width", "box_height")
_MAX_LINE_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 24


class Layout(NamedTuple):
    """Format of a table."""

    delimiter: str
    columns: dict[str, int]
    """{content: position}; see `_HEADERS`, and image and name."""
    corners: tuple[tuple[int, int], ...]
    """Positions of the x and y columns of each corner."""
    start: int = 0
    """Byte offset of the first row of boxes."""
    is_sized: bool = False
    """Whether the table has width and height instead of the second corner."""
    encoding: str = "utf-8"
    is_guessed: bool = False
    """Whether the encoding is a guess."""
    doubt: str = ""
    """Why the column of the class is ambiguous, "" if it is not."""


class _Line(NamedTuple):
    """A line of the beginning, and the offsets of it and of the next line."""

    text: str
    start: int
    end: int


def layout_of_head(head: bytes) -> Layout | None:
    """Returns the layout of a table of boxes from its first bytes; None if the file is not such a table.

    The header may be preceded by a line `sep=;` or a title. Three formats have
    no header: AutoML's (set, path, label, x, y, , , x, y, , ), the same without
    the set, and RetinaNet's (path, x, y, x, y, label).
    """
    encoding, lines = _lines(head)
    delimiters = DELIMITERS
    if lines and (stated := SEPARATOR_LINE.fullmatch(lines[0].text)):
        delimiters, lines = stated.group(1), lines[1:]
    for number, line in enumerate(lines[:_MAX_LINES_ABOVE]):
        for delimiter in delimiters:
            cells = _cells(line, delimiter)
            if cells and (layout := _with_header(cells, delimiter, lines[number + 1 :])):
                return layout._replace(start=line.end, encoding=encoding)
    for delimiter in delimiters:
        if layout := _without_header(delimiter, lines):
            return layout._replace(start=lines[0].start, encoding=encoding)
    return None


def _lines(head: bytes) -> tuple[str, list[_Line]]:
    """Returns utf-16-le, utf-16-be or utf-8 for anything else, and the non-blank lines.

    Delimiters are ASCII, so other encodings are read byte by byte here.
    """
    encoding, start = "utf-8", 0
    if head.startswith(codecs.BOM_UTF8):
        start = len(codecs.BOM_UTF8)
    elif head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding, start = ("utf-16-le" if head.startswith(codecs.BOM_UTF16_LE) else "utf-16-be"), 2
    else:
        try:
            found = decode_text(head[: len(head) // 2 * 2]).encoding
        except DatasetError:
            found = ""
        encoding = found if found.startswith("utf-16-") else "utf-8"
    byte_encoding = encoding if encoding != "utf-8" else "latin-1"
    text = head[start:].decode(byte_encoding, "replace")
    parts = text.split("\n")
    if len(head) >= HEAD_BYTES:
        parts.pop()  # Truncated.
    lines = []
    for part in parts:
        end = start + len(f"{part}\n".encode(byte_encoding, "replace"))
        if part.strip():
            lines.append(_Line(part.rstrip("\r"), start, end))
        start = end
    return encoding, lines


def _cells(line: _Line, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line.text], delimiter=delimiter), [])
    except csv.Error:
        return []


def _with_header(header: Sequence[str], delimiter: str, below: Sequence[_Line]) -> Layout | None:
    names = ["".join(filter(str.isalnum, cell)).lower() for cell in header]
    columns = {}
    for key, words in _HEADERS.items():
        position = next((names.index(word) for word in words if word in names), None)
        if position is not None:
            columns[key] = position
    is_sized = not all(key in columns for key in _CORNERS)
    sides = _SIDES if is_sized else _CORNERS
    if not all(key in columns for key in sides):
        return None
    rows = [cells for line in below[:_MAX_ROWS] if (cells := _cells(line, delimiter))]
    image = _image_column(names, rows)
    if image is None:
        return None
    name, doubt = _class_column(header, [None if n == image else word for n, word in enumerate(names)], rows)
    if name is None:
        return None
    columns |= {"image": image, "name": name}
    x0, y0, x1, y1 = (columns[key] for key in sides)
    return Layout(delimiter, columns, ((x0, y0), (x1, y1)), is_sized=is_sized, doubt=doubt)


def _image_column(names: Sequence[str], rows: Sequence[Sequence[str]]) -> int | None:
    """Returns the column of image names: one whose cells are such names, or else the first with such a header."""
    candidates = [names.index(word) for word in (*_IMAGE, "name") if word in names]
    for position in candidates:
        cells = _column(rows, position)
        if cells and sum(map(_is_image, cells)) > len(cells) / 2:
            return position
    candidates = [position for position in candidates if names[position] != "name"]
    return candidates[0] if candidates else None


def _class_column(
    header: Sequence[str], names: Sequence[str | None], rows: Sequence[Sequence[str]]
) -> tuple[int | None, str]:
    """Returns the column of the class names, None if there is none, and why it is ambiguous.

    A column of numbers has ids, unless there is no other column.
    """
    named = [names.index(word) for word in _CLASS_NAME if word in names]
    others = [names.index(word) for word in _CLASS if word in names]
    for candidates in (named, others):
        of_words = [position for position in candidates if not _is_numeric(_column(rows, position))]
        if not of_words:
            continue
        first, *rivals = of_words
        for rival in rivals:
            if not _column(rows, rival):
                continue
            pairs = {(row[first].strip(), row[rival].strip()) for row in rows if len(row) > max(first, rival)}
            if any(max(Counter(one).values()) > 1 for one in zip(*pairs, strict=True)):
                return first, f"the columns {header[first]!r} and {header[rival]!r} may both name the class"
        return first, ""
    return next(iter([*named, *others]), None), ""


def _column(rows: Sequence[Sequence[str]], position: int) -> list[str]:
    """Returns the non-blank cells of a column."""
    return [cell for row in rows if position < len(row) and (cell := row[position].strip())]


def _is_numeric(cells: Sequence[str]) -> bool:
    return bool(cells) and all(map(_is_number, cells))


def _without_header(delimiter: str, lines: Sequence[_Line]) -> Layout | None:
    """Returns the layout of nearly all rows of a table without a header."""
    rows = [cells for line in lines[:_MAX_ROWS] if (cells := _cells(line, delimiter))]
    kinds = Counter(kind for row in rows if (kind := _kind_of_row(row)) is not None)
    if not kinds:
        return None
    kind, count = kinds.most_common(1)[0]
    if count < _NEARLY_ALL * len(rows):
        return None
    if kind == "retinanet":
        if not any(row[1].strip() for row in rows if _kind_of_row(row) == kind):
            return None  # Only names.
        return Layout(delimiter, {"image": 0, "name": 5}, ((1, 2), (3, 4)))
    first = int(kind == "automl")
    columns = {"image": first, "name": first + 1} | ({"set": 0} if first else {})
    return Layout(delimiter, columns, tuple((first + x, first + x + 1) for x in (2, 4, 6, 8)))


def _kind_of_row(cells: Sequence[str]) -> str | None:
    if len(cells) >= 10:
        if _is_image(cells[0]):
            return "automl without sets"
        is_set = set_name(cells[0]) or cells[0].strip().upper() in ("", "UNASSIGNED")
        return "automl" if is_set and _is_image(cells[1]) else None
    if len(cells) == 6 and _is_image(cells[0]) and all(not cell.strip() or _is_number(cell) for cell in cells[1:5]):
        return "retinanet"
    return None


def _is_image(cell: str) -> bool:
    return PurePosixPath(cell.strip().replace("\\", "/")).suffix.lower().removeprefix(".") in IMAGE_EXTENSIONS


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


class Row(NamedTuple):
    """One row and its position in the file."""

    cells: list[str]
    place: Place

    def cell(self, layout: Layout, name: str) -> str:
        """Returns the cell of a column, "" if there is no such column or the row is too short."""
        position = layout.columns.get(name, len(self.cells))
        return self.cells[position].strip() if position < len(self.cells) else ""


def layout_of(path: Path) -> Layout | None:
    """Returns the layout of a table of boxes, None if the file is not such a table."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return None
    return layout_of_head(head)


def with_encoding(path: Path, layout: Layout) -> Layout:
    """Returns the layout with the encoding of the whole file.

    Raises:
      DatasetError: it is not text, or valid in several encodings.
      OSError: the file cannot be opened.
    """
    if layout.encoding.startswith("utf-16") or path.stat().st_size <= MAX_TEXT_BYTES:
        decoded = read_text(path)
        if decoded.encoding.startswith("utf-16"):
            return layout
        return layout._replace(encoding=decoded.encoding, is_guessed=decoded.is_guessed)
    with path.open("rb") as file:
        _check_utf8(file)
    return layout._replace(encoding="utf-8")


def rows(path: Path, layout: Layout) -> Iterator[Row | Place]:
    """Yields the rows below the header; instead of an unreadable row, its position.

    Raises:
      OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        file.seek(layout.start)
        ends = [layout.start]

        def lines() -> Iterator[str]:
            for text, num_bytes in _row_lines(file, layout.encoding):
                ends.append(ends.pop() + num_bytes)
                yield text

        source = lines()
        while True:
            start = ends[-1]
            try:
                # A new reader per row, so that an unreadable row does not affect the next one.
                cells = next(csv.reader(source, delimiter=layout.delimiter), None)
            except csv.Error:
                yield Place(start, ends[-1] - start)
                continue
            if cells is None:
                return
            if cells:
                yield Row(cells, Place(start, ends[-1] - start))


def row_at(data: bytes, place: Place, layout: Layout) -> Row | None:
    """Returns the row of some bytes, None if they are not a row."""
    lines = io.StringIO(data.decode(layout.encoding, "surrogateescape"), newline="\n")
    try:
        cells = next(csv.reader(lines, delimiter=layout.delimiter), [])
    except csv.Error:
        return None
    return Row(cells, place) if cells else None


def _row_lines(file: BinaryIO, encoding: str) -> Iterator[tuple[str, int]]:
    """Yields each line and its length in bytes.

    The whole file was decoded strictly before; bytes that a cut through an
    overlong line leaves undecodable become surrogates, which are invalid in names.
    """
    if encoding.startswith("utf-16"):
        for text in io.StringIO(file.read().decode(encoding), newline="\n"):
            yield text, len(text.encode(encoding))
        return
    while line := file.readline(_MAX_LINE_BYTES):
        yield line.decode(encoding, "surrogateescape"), len(line)


def _check_utf8(file: BinaryIO) -> None:
    """Raises DatasetError if a file that is too large to be decoded at once is not UTF-8."""
    left = b""
    while chunk := file.read(_CHUNK_BYTES):
        data = left + chunk
        # A character has at most four bytes: the last three may be the beginning of one.
        cut = max(0, len(data) - 3)
        cut = next((place for place in range(cut, len(data)) if data[place] & 0xC0 != 0x80), cut)
        try:
            data[:cut].decode("utf-8")
        except UnicodeDecodeError as error:
            raise DatasetError(f"it is not UTF-8 ({error.reason}); save it as UTF-8") from error
        left = data[cut:]
    try:
        left.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DatasetError(f"it is not UTF-8 ({error.reason}); save it as UTF-8") from error
