"""Truncated JPEGs: the fraction of the image that is missing.

libjpeg fills missing data with mid-gray, and reports no error if the file has an
end mark. Mid-gray may be part of the image, as in the bars of a padded image. So
the image is decoded a second time with noise after its data: a decoder reads the
noise only if data are missing, and the noise then becomes pixels.
"""

import random
import re
import struct
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

MAX_MISSING = 0.01
"""Largest fraction of an image that may be missing; the rest is still useful for training."""

END_MARK = b"\xff\xd9"
_MID_GREY = 128
_MCU_SIDE = 16
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_PROGRESSIVE = 0xC2
_HUFFMAN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
# In the data of a scan, FF is followed by 00, and restart marks have no length.
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_NOISE = bytes(random.Random(0).choices(range(255), k=1 << 16))

Decode = Callable[[bytes], Image.Image]


class Checked(NamedTuple):
    """A JPEG that is complete, or nearly so."""

    data: bytes
    """With an end mark."""
    missing: float
    """Fraction of the image that is missing, from 0 to `MAX_MISSING`."""


class TruncatedError(ValueError):
    """More than `MAX_MISSING` of an image is missing."""


class Structure(NamedTuple):
    """Structure of a JPEG, as given by its markers."""

    frame: int
    """Marker of its frame; 0 if there is none."""
    num_blocks: int
    """Number of blocks of 8x8 values, over all components."""
    scans_are_all: bool
    """Whether every component has a scan that starts in the file."""
    end: int
    """Offset of the end of the last scan."""
    has_end_mark: bool


def structure_of(data: bytes) -> Structure:
    """Returns the structure up to the end of the first image in a file."""
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
    """Returns whether the number of bytes is sufficient for the number of blocks.

    Each block has at least two codes of one bit, in the first scan of a
    progressive image one.
    """
    if structure.frame not in _HUFFMAN_FRAMES:
        return True  # Arithmetic coding may need less than one bit per code.
    bits = 1 if structure.frame == _PROGRESSIVE else 2
    return 8 * len(data) >= bits * structure.num_blocks * (1 - MAX_MISSING)


def checked(data: bytes, decoded: Image.Image | None, decode: Decode) -> Checked:
    """Returns a JPEG with an end mark, and the fraction of its image that is missing.

    Args:
      data: content of the file.
      decoded: its image, in any size; None if decoding failed.
      decode: returns the image of some data in its full size.

    Raises:
      TruncatedError: too much of it is missing, or decoding failed for another reason.
    """
    if decoded is not None and _grey_share(decoded) <= MAX_MISSING:
        return Checked(data, 0.0)
    structure = structure_of(data)
    # Missing data of a progressive image cannot be measured: its details are in later scans, which may all be missing.
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
    """Returns the fraction of an image, up to its end, that is mid-gray; 0 for an image in mode L of one color."""
    values = np.asarray(image)
    values = values.reshape(*values.shape[:2], -1)
    if image.mode == "L" and values[-1, -1, 0] != _MID_GREY:
        return 0.0
    coloured = np.flatnonzero((values != values[-1, -1]).any(axis=(1, 2)))
    return 1.0 - (coloured[-1] + 1 if coloured.size else 0) / values.shape[0]


def _missing_share(filled: Image.Image, noisy: Image.Image) -> float:
    """Returns the fraction of an image from the first pixel at which two versions of it differ."""
    different = (np.asarray(filled) != np.asarray(noisy)).reshape(filled.height, filled.width, -1).any(axis=2)
    rows = np.flatnonzero(different.any(axis=1))
    if not rows.size:
        return 0.0
    height, width = different.shape
    # The last row of blocks is present up to that column.
    band = different[rows[0] : rows[0] + _MCU_SIDE]
    column = int(np.flatnonzero(band.any(axis=0))[0])
    bottom = min(rows[0] + len(band), height)
    return float((len(band) * (width - column) + (height - bottom) * width) / (height * width))
