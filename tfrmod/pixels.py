"""Photos as they are: told by content, measured before decoding, checked to the last byte, upright, RGB.

Every part of the house that opens a photo comes through here, so that
training, evaluation and inference see the same pixels.
"""

import io
import struct
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, JpegImagePlugin, TiffImagePlugin

from tfrmod.content import described, photo_format
from tfrmod.errors import DatasetError
from tfrmod.orientation import TURNS, UPRIGHT, exif_orientation, swaps_sides, upright

MAX_PIXELS = 178_956_970
"""Largest photo opened by default: 512 MiB as RGB, the limit Pillow knows too."""
_ORIENTATION = 0x0112
_SMALL_PIXELS = 512 * 512
_MAX_JPEG_SIDE = 65_500
_JPEG_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_JPEG_PLAIN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # Baseline, extended, progressive; all Huffman-coded.


class PhotoError(DatasetError):
    """A file is no photo that can be used; `code` is one of `checks.FAULTS`."""

    def __init__(self, message: str, code: str = "image_undecodable") -> None:
        super().__init__(message)
        self.code = code


class Photo(NamedTuple):
    """A checked photo, as it goes into a record."""

    encoded: bytes
    """Upright, without transparency, 8 bits a channel: what tf.io.decode_image(channels=3) reads rightly."""
    format: str
    """jpeg or png."""
    height: int
    width: int
    """Of the upright picture."""
    orientation: int
    """The EXIF value of the file that was given; `encoded` has none but 1."""
    content: str
    """What the given file was: JPEG, PNG, GIF, BMP, WEBP, TIFF."""

    @property
    def stored_size(self) -> tuple[int, int]:
        """Returns (height, width) of the picture in the given file, before it was turned upright."""
        return (self.width, self.height) if swaps_sides(self.orientation) else (self.height, self.width)


class Header(NamedTuple):
    """What the first bytes of a photo say, nothing being decoded."""

    height: int
    width: int
    orientation: int
    is_plain: bool
    """The bytes may be handed on as they are, once they have been seen to decode."""


def check_photo(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Returns the photo in `data`, its bytes unchanged wherever they are fine as they are.

    A JPEG is checked through all its entropy-coded data, but only an eighth of
    each side is reconstructed: the same faults are found in half the time.

    Raises:
      PhotoError: no photo, damaged, or with more than `max_pixels` pixels.
    """
    content, header = _header(data, max_pixels)
    if content == "JPEG" and header.is_plain and header.orientation == UPRIGHT:
        _decode_jpeg_roughly(data)
        return Photo(data, "jpeg", header.height, header.width, UPRIGHT, content)
    image, orientation, is_solid = _decoded(data, content)
    if content == "PNG" and header.is_plain and is_solid and orientation == UPRIGHT:
        return Photo(data, "png", image.height, image.width, UPRIGHT, content)
    encoded, name = _encoded(image, is_lossless=content not in ("JPEG", "WEBP"))
    return Photo(encoded, name, image.height, image.width, orientation, content)


def decode_photo(data: bytes | Path, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Returns the upright picture, uint8 RGB (h, w, 3), of any photo that `check_photo` takes.

    Raises:
      PhotoError: no photo, damaged, or too large.
    """
    if isinstance(data, Path):
        data = data.read_bytes()
    content, _ = _header(data, max_pixels)
    return np.array(_decoded(data, content)[0])


def _header(data: bytes, max_pixels: int) -> tuple[str, Header]:
    """Returns what the photo is and its header, once its size has been found harmless."""
    content = photo_format(data)
    if content is None:
        raise PhotoError(f"expected a JPEG, PNG, BMP, WebP, TIFF or GIF picture; it is {described(data)}")
    try:
        header = _HEADERS[content](data)
    except (struct.error, IndexError) as error:
        raise PhotoError(f"its {content} header is broken") from error
    if header.height < 1 or header.width < 1:
        raise PhotoError(f"its {content} header states a size of {header.width}x{header.height} pixels")
    if header.height * header.width > max_pixels:
        size = f"{header.width}x{header.height}"
        raise PhotoError(f"{size} pixels, where at most {max_pixels:,} are opened", "image_too_large")
    return content, header


def _jpeg_header(data: bytes) -> Header:
    """Walks the marker segments up to the first scan (ITU-T T.81, annex B)."""
    orientation, frame = UPRIGHT, None
    position = 2
    while True:
        position = data.find(b"\xff", position)
        if position < 0:
            raise IndexError("no scan")
        marker = data[position + 1]
        if marker in (0x00, 0xFF, 0x01) or 0xD0 <= marker <= 0xD8:  # Filling, or markers without a length.
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
        raise PhotoError(f"a JPEG of {precision} bits a channel, which no decoder here reads; save it with 8 bits")
    return Header(height, width, orientation, kind in _JPEG_PLAIN_FRAMES and channels in (1, 3))


def _png_header(data: bytes) -> Header:
    width, height, depth, color = struct.unpack_from(">IIBB", data, 16)
    return Header(height, width, UPRIGHT, depth <= 8 and color in (0, 2, 3))


def _gif_header(data: bytes) -> Header:
    """Reads the canvas; Pillow itself measures a frame that is larger."""
    width, height = struct.unpack_from("<HH", data, 6)
    return Header(height, width, UPRIGHT, is_plain=False)


def _bmp_header(data: bytes) -> Header:
    (header_size,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header_size == 12 else "<ii", data, 18)
    return Header(abs(height), width, UPRIGHT, is_plain=False)


def _webp_header(data: bytes) -> Header:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[start : start + 3], "little") for start in (24, 27))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    return Header(height, width, UPRIGHT, is_plain=False)


def _tiff_header(data: bytes) -> Header:
    """Pillow reads no more than the directory of a TIFF before its pixels are asked for."""
    image = _opened(data, "TIFF")
    return Header(image.height, image.width, UPRIGHT, is_plain=False)


_HEADERS = {
    "JPEG": _jpeg_header,
    "PNG": _png_header,
    "GIF": _gif_header,
    "BMP": _bmp_header,
    "WEBP": _webp_header,
    "TIFF": _tiff_header,
}


def _opened(data: bytes, content: str) -> Image.Image:
    try:
        if content == "JPEG":
            # Not Image.open: it hands pictures with an MPF block to another plugin, which reads on past the first.
            return JpegImagePlugin.JpegImageFile(io.BytesIO(data))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Image.open(io.BytesIO(data), formats=[content])
    except Image.DecompressionBombError as error:
        raise PhotoError(str(error), "image_too_large") from error
    except Exception as error:  # Decoders fail in more ways than can be listed.
        raise PhotoError(f"its {content} header cannot be read ({error})") from error


def _load(image: Image.Image) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.load()
    except Image.DecompressionBombError as error:
        raise PhotoError(str(error), "image_too_large") from error
    except Exception as error:  # See above.
        raise PhotoError(f"its pixels cannot be read ({str(error) or type(error).__name__})") from error


def _decode_jpeg_roughly(data: bytes) -> None:
    image = _opened(data, "JPEG")
    image.draft("L", (max(1, image.width // 8), max(1, image.height // 8)))
    _load(image)


def _decoded(data: bytes, content: str) -> tuple[Image.Image, int, bool]:
    """Returns the upright RGB picture, the EXIF orientation it had, and whether it had no alpha channel."""
    image = _opened(data, content)
    stated = _tiff_orientation(image)
    _load(image)
    remaining = _tiff_orientation(image)  # Pillow turns a TIFF itself while loading it, and drops the tag.
    if content != "TIFF":
        stated = remaining = _exif_orientation(image, content)
    try:
        picture, is_solid = _rgb(image)
    except (ValueError, OSError) as error:
        raise PhotoError(f"its colours (mode {image.mode}) have no way to RGB") from error
    return upright(picture, remaining), stated, is_solid


def _exif_orientation(image: Image.Image, content: str) -> int:
    if content == "JPEG":
        return exif_orientation(image.info.get("exif") or b"")
    try:
        value = image.getexif().get(_ORIENTATION, UPRIGHT)  # Of PNG, also what ImageMagick writes as text.
    except Exception:  # As with pixels: broken EXIF fails in many ways, and is none.
        return UPRIGHT
    return value if value in TURNS else UPRIGHT


def _tiff_orientation(image: Image.Image) -> int:
    value = image.tag_v2.get(_ORIENTATION, UPRIGHT) if isinstance(image, TiffImagePlugin.TiffImageFile) else UPRIGHT
    return value if value in TURNS else UPRIGHT


def _rgb(image: Image.Image) -> tuple[Image.Image, bool]:
    """Returns the picture in RGB, and whether it had no alpha channel.

    What shines through is white, as in a browser. 16 bits lose their lower
    half; Pillow's own conversion would clip them instead.
    """
    if image.mode.startswith("I"):
        values = np.asarray(image)
        values = values if values.dtype.itemsize == 2 else values.clip(0, 0xFFFF)
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB"), True
    if image.mode == "F":
        raise ValueError("floating point")
    if "transparency" not in image.info and not image.mode.upper().endswith("A"):
        return image.convert("RGB"), True
    image = image.convert("RGBA")
    if image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB"), False
    ground = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(ground, image).convert("RGB"), False


def _encoded(image: Image.Image, *, is_lossless: bool) -> tuple[bytes, str]:
    """Returns the picture as PNG where that keeps it whole at little cost, else as a fine JPEG."""
    out = io.BytesIO()
    is_small = image.height * image.width <= _SMALL_PIXELS
    if (is_lossless and is_small) or max(image.size) > _MAX_JPEG_SIDE:
        image.save(out, "PNG")
        return out.getvalue(), "png"
    image.save(out, "JPEG", quality=95, subsampling=0)
    return out.getvalue(), "jpeg"
