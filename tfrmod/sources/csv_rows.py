"""CSV files row by row, each with its place in the file."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tfrmod.errors import DatasetError
from tfrmod.sources.csv_layout import HEAD_BYTES, Layout, layout_of_head
from tfrmod.sources.json_stream import Place
from tfrmod.text import MAX_TEXT_BYTES, read_text

__all__ = ["Layout", "Row", "layout_of", "row_at", "rows", "with_encoding"]

_MAX_LINE_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 24


class Row(NamedTuple):
    """One row and where it lies."""

    cells: list[str]
    place: Place

    def cell(self, layout: Layout, name: str) -> str:
        """Returns what a column holds, "" where there is no such column or the row is too short."""
        position = layout.columns.get(name, len(self.cells))
        return self.cells[position].strip() if position < len(self.cells) else ""


def layout_of(path: Path) -> Layout | None:
    """Returns how a table of boxes is written, None where a file is no such table."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return None
    return layout_of_head(head)


def with_encoding(path: Path, layout: Layout) -> Layout:
    """Returns the layout with the encoding that the whole file is in.

    Raises:
      DatasetError: it is no text, or fits several encodings.
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
    """Yields the rows below the header; in place of a row that cannot be read, its place.

    Raises:
      OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        file.seek(layout.start)
        ends = [layout.start]

        def lines() -> Iterator[str]:
            for text, num_bytes in _lines(file, layout.encoding):
                ends.append(ends.pop() + num_bytes)
                yield text

        source = lines()
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
            if cells:
                yield Row(cells, Place(start, ends[-1] - start))


def row_at(data: bytes, place: Place, layout: Layout) -> Row | None:
    """Returns the row that some bytes spell, None where they spell none."""
    lines = io.StringIO(data.decode(layout.encoding, "surrogateescape"), newline="\n")
    try:
        cells = next(csv.reader(lines, delimiter=layout.delimiter), [])
    except csv.Error:
        return None
    return Row(cells, place) if cells else None


def _lines(file: BinaryIO, encoding: str) -> Iterator[tuple[str, int]]:
    """Yields each line and its length in bytes.

    The whole file was decoded strictly before; what a cut through an endless
    line leaves undecodable becomes surrogates, which no name may hold.
    """
    if encoding.startswith("utf-16"):
        for text in io.StringIO(file.read().decode(encoding), newline="\n"):
            yield text, len(text.encode(encoding))
        return
    while line := file.readline(_MAX_LINE_BYTES):
        yield line.decode(encoding, "surrogateescape"), len(line)


def _check_utf8(file: BinaryIO) -> None:
    """Raises a DatasetError where a file too large to be decoded at once is not UTF-8."""
    left = b""
    while chunk := file.read(_CHUNK_BYTES):
        data = left + chunk
        # A letter has at most four bytes: the last three may be the beginning of one.
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
