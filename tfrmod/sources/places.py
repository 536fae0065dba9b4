"""Places in a large file, small enough to carry 100,000 photos' worth of them."""

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_PLACE = struct.Struct("<QI")


class Place(NamedTuple):
    """Some bytes of a file."""

    start: int
    num_bytes: int


def packed(places: Iterable[Place]) -> bytes:
    """Returns 12 bytes a place, for `Entry.detail`."""
    return b"".join(_PLACE.pack(*place) for place in places)


def num_packed(detail: bytes) -> int:
    """Returns how many places `packed` took."""
    return len(detail) // _PLACE.size


def unpacked(detail: bytes) -> list[Place]:
    """Returns what `packed` took."""
    return [Place(*pair) for pair in _PLACE.iter_unpack(detail)]


def read_places(path: Path, places: Iterable[Place]) -> list[bytes]:
    """Returns the bytes at each place; fewer where the file has become shorter.

    Raises:
      OSError: the file cannot be opened.
    """
    found = []
    with path.open("rb") as file:
        for place in places:
            file.seek(place.start)
            found.append(file.read(place.num_bytes))
    return found
