"""Chunks of validated images on disk, so that memory does not grow with the dataset.

A chunk has the results for some consecutive images: one line per image, one
line with statistics of all of them, and a checksum. A chunk of a killed run is
reused if its checksum is correct and the files of its images have not been
modified since.
"""

import base64
import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from tfrmod import fileio
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.problems import Problem
from tfrmod.sources import Entry
from tfrmod.validate_image import ValidatedImage

CHUNK = 32
"""Number of images in a chunk."""
_FIELDS = tuple(field.name for field in fields(AnnotatedImage) if field.name not in ("objects", "path"))
_MASK = AnnotatedObject._fields.index("mask")  # The last field.
_SEAL_BYTES = 65  # A sha256 in hexadecimal digits and the line end.


class Entries:
    """Entries of a listing, stored in a file and read chunk by chunk."""

    def __init__(self, path: Path, entries: Sequence[Entry]) -> None:
        """Writes the entries."""
        self._path = path
        self._count = len(entries)
        self._offsets = array("Q")
        with path.open("w", encoding="ascii") as file:
            for first in range(0, len(entries), CHUNK):
                self._offsets.append(file.tell())
                file.write(json.dumps(entries[first : first + CHUNK], default=_base64) + "\n")

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, position: int) -> Entry:
        with self._path.open("rb") as file:
            file.seek(self._offsets[position // CHUNK])
            return _entries(file.readline())[position % CHUNK]

    def chunks(self) -> Iterator[list[Entry]]:
        """Yields the entries in order, `CHUNK` at a time."""
        with self._path.open("rb") as file:
            yield from map(_entries, file)


class Row(NamedTuple):
    """Data of one usable image for the split and the manifest."""

    position: int
    """Index in the listing."""
    offset: int
    """Byte offset of its line in the chunk."""
    height: int
    width: int
    num_objects: int
    classes: tuple[str, ...]
    """Sorted, without duplicates."""
    identity: int
    """The first 64 bits of the sha256 of its bytes."""
    image_hash: int
    """Its difference hash; 0 if there is none, which is similar to no other."""
    has_masks: bool
    """Whether any object has a mask."""
    has_segmentation: bool


class Chunk(NamedTuple):
    """Statistics of some consecutive images."""

    path: Path
    rows: tuple[Row, ...]
    boxes_per_class: dict[str, int]
    problems: tuple[Problem, ...]
    aliased: tuple[str, ...]
    """Names that were replaced by another class, without duplicates."""


def write_chunk(path: Path, first: int, outcomes: Sequence[ValidatedImage], stamp: Any) -> Chunk:
    """Writes one chunk, atomically, and returns its statistics.

    Args:
      path: of the chunk.
      first: index of the first image in the listing.
      outcomes: one per image.
      stamp: JSON value that must be equal for the chunk to be reused.

    Raises:
      OSError: no space or no permission.
    """
    lines = bytearray()
    rows: list[Row] = []
    boxes: Counter[str] = Counter()
    for position, outcome in enumerate(outcomes, start=first):
        image = outcome.image
        if image is not None:
            rows.append(_row(position, len(lines), image, outcome.image_hash))
            boxes.update(obj.name for obj in image.objects)
            lines += _image_line(image, path.parent)
    problems = tuple(problem for outcome in outcomes for problem in outcome.problems)
    aliased = tuple(sorted({name for outcome in outcomes for name in outcome.aliased}))
    facts = {"stamp": stamp, "rows": rows, "boxes": boxes, "problems": problems, "aliased": aliased}
    lines += b"\n" + json.dumps(facts).encode() + b"\n"
    fileio.write_file(path, bytes(lines) + _seal(lines), is_synced=False)
    return Chunk(path, tuple(rows), dict(boxes), problems, aliased)


def read_chunk(path: Path, stamp: Any) -> Chunk | None:
    """Returns the statistics of an existing chunk, None if it is missing, damaged, or has another stamp."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    if _seal(data[:-_SEAL_BYTES]) != data[-_SEAL_BYTES:]:
        return None
    facts = json.loads(data[: -_SEAL_BYTES - 1].rpartition(b"\n")[2])
    if facts["stamp"] != json.loads(json.dumps(stamp)):
        return None
    rows = tuple(Row._make((*row[:5], tuple(row[5]), *row[6:])) for row in facts["rows"])
    problems = tuple(Problem(*problem) for problem in facts["problems"])
    return Chunk(path, rows, facts["boxes"], problems, tuple(facts["aliased"]))


def read_image(path: Path, offset: int) -> AnnotatedImage:
    """Returns one image of a chunk, without the bytes of its file."""
    with path.open("rb") as file:
        file.seek(offset)
        place, objects, *values = json.loads(file.readline(), object_hook=_restored)
    objects = tuple(AnnotatedObject(name, tuple(box), *rest) for name, box, *rest in objects)  # Without mask: default.
    return AnnotatedImage(objects=objects, path=path.parent / place, **dict(zip(_FIELDS, values, strict=True)))


def _row(position: int, offset: int, image: AnnotatedImage, image_hash: int | None) -> Row:
    return Row(
        position=position,
        offset=offset,
        height=image.height,
        width=image.width,
        num_objects=len(image.objects),
        classes=tuple(sorted({obj.name for obj in image.objects})),
        identity=int(image.sha256[:16], 16),
        image_hash=image_hash or 0,
        has_masks=any(obj.mask for obj in image.objects),
        has_segmentation=bool(image.segmentation),
    )


def _image_line(image: AnnotatedImage, folder: Path) -> bytes:
    """Returns one image as JSON; the path of an image in the chunk's folder is stored relative to it."""
    place = image.path.name if image.path and image.path.parent == folder else str(image.path)
    objects = [obj if obj.mask else obj[:_MASK] for obj in image.objects]
    values = [place, objects, *(getattr(image, name) for name in _FIELDS)]
    return json.dumps(values, default=_base64).encode() + b"\n"


def _seal(data: bytes | bytearray) -> bytes:
    return hashlib.sha256(data).hexdigest().encode() + b"\n"


def _entries(line: bytes) -> list[Entry]:
    return [Entry(*entry) for entry in json.loads(line, object_hook=_restored)]


def _base64(value: Any) -> dict[str, str]:
    if not isinstance(value, bytes):
        raise TypeError(f"Expected a value that JSON or base64 can hold. Received {type(value).__name__}.")
    return {"base64": base64.b64encode(value).decode()}


def _restored(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["base64"]) if "base64" in value else value
