"""Reader of shards that reports damaged records and continues.

Training stops at the first damaged record. An inspection lists all of them,
and shows the intact ones.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tfrmod.annotated_image import AnnotatedImage
from tfrmod.errors import DatasetError
from tfrmod.example import decode_example
from tfrmod.image_file import check_image
from tfrmod.image_headers import ImageError
from tfrmod.tfrecord_io import scan_records

_HEADER_BYTES = 12
"""Length of a record and its checksum, which precede its data."""
_READ_BY_TENSORFLOW = frozenset({"JPEG", "PNG", "GIF", "BMP"})


class RecordLocation(NamedTuple):
    """Location of a record."""

    file: Path
    record: int
    """Counted from 0."""
    offset: int
    """Byte offset of its header in the file."""
    num_bytes: int
    """Size of its data in bytes; 0 if the length is unknown."""


class DamagedRecord(NamedTuple):
    """A damaged record and its problem."""

    location: RecordLocation
    what: str


class ReadRecord(NamedTuple):
    """A readable record."""

    location: RecordLocation
    image: AnnotatedImage


def read_shard(path: Path) -> Iterator[ReadRecord | DamagedRecord]:
    """Yields every record of a file, or its problem, in order.

    Reading continues after a damaged record while its length is plausible;
    otherwise the rest of the file counts as one damaged record.

    Raises:
      OSError: the file cannot be opened.
    """
    size = path.stat().st_size
    for number, (offset, data, damage) in enumerate(scan_records(path)):
        location = RecordLocation(path, number, offset, len(data))
        if damage and not data:
            doubt = "" if offset else "; is this a TFRecord file?"
            yield DamagedRecord(location, f"{damage}; the remaining {size - offset:,} bytes cannot be read{doubt}")
        elif damage:
            yield DamagedRecord(location, damage)
        else:
            yield _decode_record(location, data)


def serialized_record(location: RecordLocation) -> bytes:
    """Returns the data of a record that was read before."""
    with location.file.open("rb") as file:
        file.seek(location.offset + _HEADER_BYTES)
        return file.read(location.num_bytes)


def annotated_image(serialized: bytes) -> AnnotatedImage:
    """Returns the image of a record that was read before; its boxes are in image pixels."""
    image = decode_example(serialized)
    return _measured(image, check_image(image.encoded).stored_size)


def _decode_record(location: RecordLocation, data: bytes) -> ReadRecord | DamagedRecord:
    try:
        image = decode_example(data)
    except DatasetError as error:
        return DamagedRecord(location, str(error).rstrip("."))
    image_name = f"its image {image.filename}".rstrip()
    try:
        checked = check_image(image.encoded)
    except ImageError as error:
        return DamagedRecord(location, f"{image_name} is damaged: {error}".rstrip("."))
    if checked.content not in _READ_BY_TENSORFLOW:
        return DamagedRecord(location, f"{image_name} is {checked.content}, which TensorFlow does not read")
    return ReadRecord(location, _measured(image, checked.stored_size))


def _measured(image: AnnotatedImage, size: tuple[int, int]) -> AnnotatedImage:
    """Returns the annotated image with the (height, width) of its pixels; records may state another size, or none."""
    if (image.height, image.width) == size:
        return image
    down, across = (true / (said or 1) for true, said in zip(size, (image.height, image.width), strict=True))
    objects = tuple(
        obj._replace(box=(y0 * down, x0 * across, y1 * down, x1 * across))
        for obj in image.objects
        for y0, x0, y1, x1 in [obj.box]
    )
    return replace(image, height=size[0], width=size[1], objects=objects)
