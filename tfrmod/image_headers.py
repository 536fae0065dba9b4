"""Image headers: size, orientation and type without decoding."""

import struct
from typing import NamedTuple

from tfrmod.errors import DatasetError
from tfrmod.exif import UPRIGHT, exif_orientation

_JPEG_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_JPEG_PLAIN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # Baseline, extended, progressive; all Huffman-coded.
# Transparency, EXIF, and text chunks, which may contain EXIF too.
_PNG_CHUNKS_THAT_MATTER = frozenset({b"tRNS", b"eXIf", b"tEXt", b"zTXt", b"iTXt"})


class ImageError(DatasetError):
    """A file is not a usable image; `code` is one of `problems.FAULTS`."""

    def __init__(self, message: str, code: str = "image_undecodable") -> None:
        super().__init__(message)
        self.code = code


class Header(NamedTuple):
    """Content of an image header, without decoding the image."""

    height: int
    width: int
    orientation: int
    is_plain: bool
    """Whether the bytes may be used unchanged if they can be decoded."""
    is_bare: bool = True
    """Whether nothing after the header can rotate the image or make it transparent."""


def jpeg_header(data: bytes) -> Header:
    """Reads the marker segments up to the first scan (ITU-T T.81, annex B)."""
    orientation, frame = UPRIGHT, None
    position = 2
    while True:
        position = data.find(b"\xff", position)
        if position < 0:
            raise IndexError("no scan")
        marker = data[position + 1]
        if marker in (0x00, 0xFF, 0x01) or 0xD0 <= marker <= 0xD8:  # Padding, or markers without a length.
            position += 1
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        segment = data[position + 4 : position + 2 + length]
        if marker in _JPEG_FRAMES:
            frame = (marker, *struct.unpack_from(">BHHB", segment))
        elif marker == 0xE1 and segment.startswith(b"Exif\x00\x00"):
            orientation = exif_orientation(segment)
        elif marker in (0xDA, 0xD9):
            break
        position += 2 + length
    if frame is None:
        raise IndexError("no frame")
    kind, precision, height, width, channels = frame
    if precision != 8:
        raise ImageError(f"a JPEG of {precision} bits per channel, which cannot be decoded here; save it with 8 bits")
    return Header(height, width, orientation, kind in _JPEG_PLAIN_FRAMES and channels in (1, 3))


def png_header(data: bytes) -> Header:
    """Reads the chunks before the pixels."""
    width, height, depth, color = struct.unpack_from(">IIBB", data, 16)
    kinds: set[bytes] = set()
    position = 8
    while position + 8 <= len(data) and not kinds & {b"IDAT", b"IEND"}:
        length, kind = struct.unpack_from(">I4s", data, position)
        kinds.add(kind)
        position += 12 + length
    is_plain = depth <= 8 and color in (0, 2, 3)
    return Header(height, width, UPRIGHT, is_plain, is_bare=not kinds & _PNG_CHUNKS_THAT_MATTER)


def gif_header(data: bytes) -> Header:
    """Reads the size of the canvas; Pillow reports that of a frame that is larger."""
    width, height = struct.unpack_from("<HH", data, 6)
    return Header(height, width, UPRIGHT, is_plain=False)


def bmp_header(data: bytes) -> Header:
    """Reads the size; a negative height means rows from top to bottom."""
    (header_size,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header_size == 12 else "<ii", data, 18)
    return Header(abs(height), width, UPRIGHT, is_plain=False)


def webp_header(data: bytes) -> Header:
    """Reads the size from the first chunk, which has one of three types."""
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[start : start + 3], "little") for start in (24, 27))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    return Header(height, width, UPRIGHT, is_plain=False)
