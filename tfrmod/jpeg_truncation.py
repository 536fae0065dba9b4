"""Truncated JPEGs: the fraction of the image that is missing.

libjpeg fills what is missing with mid-grey, of a file with an end mark even
without an error. Mid-grey may be meant, as in the bars of a padded image.
So the image is decoded a second time with noise after its data: where they
are whole, a decoder never reads that far; where they are not, the noise becomes
pixels.
"""

import random
import re
import struct
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

MAX_MISSING = 0.01
"""The share of an image that may be missing; the rest of it still teaches what it shows."""

END_MARK = b"\xff\xd9"
_MID_GREY = 128
_MCU_SIDE = 16
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_PROGRESSIVE = 0xC2
_HUFFMAN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
# Within the data of a scan, FF is followed by 00, and restart marks have no length.
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_NOISE = bytes(random.Random(0).choices(range(255), k=1 << 16))

Decode = Callable[[bytes], Image.Image]


class Checked(NamedTuple):
    """A JPEG that is whole, or nearly so."""

    data: bytes
    """With an end mark."""
    missing: float
    """The share of the image that is missing, from 0 to `MAX_MISSING`."""


class TruncatedError(ValueError):
    """More than `MAX_MISSING` of an image is missing."""


class Structure(NamedTuple):
    """What the markers of a JPEG say."""

    frame: int
    """The marker of its frame; 0 without one."""
    num_blocks: int
    """Blocks of 8x8 values, of all components."""
    scans_are_all: bool
    """Whether every component has a scan that begins in the file."""
    end: int
    """Where the data of the last scan end."""
    has_end_mark: bool


def structure_of(data: bytes) -> Structure:
    """Returns what the markers say, up to the end of the first image in a file."""
    frame, num_blocks, components, scanned = 0, 0, b"", b""
    position, end = 2, len(data)
    while (found := _MARKER.search(data, position)) is not None:
        marker, position = found[1][0], found.end()
        if marker == END_MARK[1]:
            end = found.start()
            break
        if marker in (0x01, 0xD8):
            continue
        (length,) = struct.unpack(">H", data[position : position + 2].ljust(2, b"\0"))
        segment, position = data[position + 2 : position + length], position + max(length, 2)
        if marker in _FRAMES:
            frame, components = marker, segment[6::3]
            num_blocks = _num_blocks(segment)
        elif marker == 0xDA and segment:
            scanned += segment[1 : 1 + 2 * segment[0] : 2]
    return Structure(frame, num_blocks, set(components) <= set(scanned), end, has_end_mark=found is not None)


def holds_its_pixels(data: bytes, structure: Structure) -> bool:
    """Returns whether so few bytes can hold so many blocks.

    Each has two codes of a bit or more, in the first scan of a progressive
    image one.
    """
    if structure.frame not in _HUFFMAN_FRAMES:
        return True  # An arithmetic coder takes less than a bit.
    bits = 1 if structure.frame == _PROGRESSIVE else 2
    return 8 * len(data) >= bits * structure.num_blocks * (1 - MAX_MISSING)


def checked(data: bytes, decoded: Image.Image | None, decode: Decode) -> Checked:
    """Returns a JPEG with an end mark, and how much of its image is missing.

    Args:
      data: the file.
      decoded: what it decodes to, in any size; None where decoding failed.
      decode: gives the image of some data in its full size.

    Raises:
      TruncatedError: too much of it is missing, or decoding failed for another reason.
    """
    if decoded is not None and _grey_share(decoded) <= MAX_MISSING:
        return Checked(data, 0.0)
    structure = structure_of(data)
    # What a progressive image lacks cannot be measured: its details come in scans that may not even have begun.
    is_measurable = structure.frame != _PROGRESSIVE and structure.scans_are_all
    if decoded is None and (structure.has_end_mark or not is_measurable):
        raise TruncatedError
    body = data[: structure.end].removesuffix(b"\xff")
    missing = _missing_share(decode(body + END_MARK), decode(body + _NOISE + END_MARK))
    if missing > MAX_MISSING:
        raise TruncatedError(f"its data are truncated: the lowest {missing:.0%} of the image is missing")
    return Checked(data if decoded is not None else body + END_MARK, missing)


def _num_blocks(segment: bytes) -> int:
    if len(segment) < 6:
        return 0
    _, height, width, _ = struct.unpack_from(">BHHB", segment)
    samplings = [(sampling >> 4, sampling & 15) for sampling in segment[7::3]]
    widest, highest = (max((sampling[axis] for sampling in samplings), default=0) for axis in (0, 1))
    if not widest or not highest:
        return 0
    return sum(-(-width * h // (8 * widest)) * -(-height * v // (8 * highest)) for h, v in samplings)


def _grey_share(image: Image.Image) -> float:
    """Returns the share of an image that is mid-grey from somewhere on to its end; not in L, of one colour."""
    values = np.asarray(image)
    values = values.reshape(*values.shape[:2], -1)
    if image.mode == "L" and values[-1, -1, 0] != _MID_GREY:
        return 0.0
    coloured = np.flatnonzero((values != values[-1, -1]).any(axis=(1, 2)))
    return 1.0 - (coloured[-1] + 1 if coloured.size else 0) / values.shape[0]


def _missing_share(filled: Image.Image, noisy: Image.Image) -> float:
    """Returns the share of an image from the first pixel on in which two versions of it differ."""
    different = (np.asarray(filled) != np.asarray(noisy)).reshape(filled.height, filled.width, -1).any(axis=2)
    rows = np.flatnonzero(different.any(axis=1))
    if not rows.size:
        return 0.0
    height, width = different.shape
    # The row of blocks in which the data end is there up to that column.
    band = different[rows[0] : rows[0] + _MCU_SIDE]
    column = int(np.flatnonzero(band.any(axis=0))[0])
    bottom = min(rows[0] + len(band), height)
    return float((len(band) * (width - column) + (height - bottom) * width) / (height * width))
