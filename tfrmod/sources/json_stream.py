"""Streaming JSON reader for large files."""

import json
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from tfrmod.errors import DatasetError

_CHUNK_BYTES = 1 << 20
_MAX_PIECE_BYTES = 64 << 20
_BLANKS = " \t\r\n"
_DECODER = json.JSONDecoder()


class Piece(NamedTuple):
    """An element of a list at the top level of a JSON object, or another top-level value."""

    key: str
    """Key of the list or value."""
    value: Any
    start: int
    """Byte offset in the file."""
    num_bytes: int


def pieces(path: Path) -> Iterator[Piece]:
    """Yields the elements of the top-level lists of a JSON object, and its other values, in order.

    One piece is in memory at a time, so that COCO's half a gigabyte takes a few
    megabytes.

    Raises:
      DatasetError: it is not JSON, not UTF-8, not an object, truncated, or not
        accepted by Python's parser.
      OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        text = _Text(file)
        text.expect("{")
        while text.peek() != "}":
            key, _, _ = text.value()
            if not isinstance(key, str):
                raise DatasetError(f"a name in quotes is expected before byte {text.place}")
            text.expect(":")
            if text.peek() == "[":
                text.expect("[")
                while text.peek() != "]":
                    yield Piece(key, *text.value())
                    text.separate("]")
                text.expect("]")
            else:
                yield Piece(key, *text.value())
            text.separate("}")
        text.expect("}")
        if text.peek():
            raise DatasetError(f"something follows the end of its object, at byte {text.place}")


def elements(path: Path) -> Iterator[Piece]:
    """Yields the elements of a JSON array, in order, each with the key "".

    Raises:
      DatasetError: as in `pieces`, for a file that is not an array.
      OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        text = _Text(file)
        text.expect("[")
        while text.peek() != "]":
            yield Piece("", *text.value())
            text.separate("]")
        text.expect("]")
        if text.peek():
            raise DatasetError(f"something follows the end of its array, at byte {text.place}")


def is_array(path: Path) -> bool:
    """Returns whether a JSON file begins with an array.

    Raises:
      DatasetError: it is not UTF-8.
      OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        return _Text(file).peek() == "["


def parsed(data: bytes) -> Any:
    """Returns the JSON value of some bytes.

    Raises:
      DatasetError: they are not valid JSON.
    """
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"not valid JSON: {error}") from error


class _Text:
    """The text of a file and a position in it; a character is a byte until a value is complete."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        # Latin-1 maps bytes to characters one to one, so positions in the text are byte offsets. JSON's structure is
        # ASCII, which in UTF-8 is never part of another character.
        self._text = file.read(_CHUNK_BYTES).decode("latin-1")
        self._start = 0
        self._at = 0
        if self._text.startswith(("\xff\xfe", "\xfe\xff")) or "\0" in self._text[:4]:
            raise DatasetError("it is UTF-16 or binary, where JSON is UTF-8; save it as UTF-8")
        if self._text.startswith("\xef\xbb\xbf"):
            self._at = 3

    @property
    def place(self) -> int:
        return self._start + self._at

    def peek(self) -> str:
        """Returns the next character that is not whitespace, "" at the end of the file."""
        while True:
            while self._at < len(self._text):
                letter = self._text[self._at]
                if letter not in _BLANKS:
                    return letter
                self._at += 1
            if not self._read_on(_CHUNK_BYTES):
                return ""

    def expect(self, letter: str) -> None:
        found = self.peek()
        if found != letter:
            raise DatasetError(
                f"{letter!r} is expected at byte {self.place}, found {found!r}"
                if found
                else f"it ends at byte {self.place}, in the middle of its content"
            )
        self._at += 1

    def separate(self, end: str) -> None:
        """Skips a comma that is followed by another item, or stops before the end of the list or object."""
        if self.peek() != end:
            self.expect(",")
            if self.peek() == end:
                raise DatasetError(f"nothing follows the comma before byte {self.place}")

    def value(self) -> tuple[Any, int, int]:
        """Returns the value at this position, and its offset and length in bytes."""
        self.peek()
        size = _CHUNK_BYTES
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if isinstance(error, RecursionError) or not self._may_read_on(size):
                    raise DatasetError(f"not valid JSON at byte {self.place}: {_reason(error)}") from error
            else:
                length = end - self._at
                # A number that ends with the buffer may continue after it.
                if end < len(self._text) or not self._may_read_on(size):
                    return self._taken(value, length)
            size *= 2

    def _taken(self, value: Any, length: int) -> tuple[Any, int, int]:
        start, piece = self.place, self._text[self._at : self._at + length]
        self._at += length
        return value if piece.isascii() else parsed(piece.encode("latin-1")), start, length

    def _may_read_on(self, size: int) -> bool:
        return len(self._text) - self._at < _MAX_PIECE_BYTES and self._read_on(size)

    def _read_on(self, size: int) -> bool:
        data = self._file.read(size)
        self._text, self._start, self._at = self._text[self._at :] + data.decode("latin-1"), self.place, 0
        return bool(data)


def _reason(error: BaseException) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


_PLACE = struct.Struct("<QI")


class Place(NamedTuple):
    """A range of bytes in a file."""

    start: int
    num_bytes: int


def packed(places: Iterable[Place]) -> bytes:
    """Returns 12 bytes per range, for `Entry.detail`."""
    return b"".join(_PLACE.pack(*place) for place in places)


def num_packed(detail: bytes) -> int:
    """Returns the number of ranges in a result of `packed`."""
    return len(detail) // _PLACE.size


def unpacked(detail: bytes) -> list[Place]:
    """Returns the ranges in a result of `packed`."""
    return [Place(*pair) for pair in _PLACE.iter_unpack(detail)]


def read_places(path: Path, places: Iterable[Place]) -> list[bytes]:
    """Returns the bytes of each range; fewer if the file has become shorter.

    Raises:
      OSError: the file cannot be opened.
    """
    found = []
    with path.open("rb") as file:
        for place in places:
            file.seek(place.start)
            found.append(file.read(place.num_bytes))
    return found
