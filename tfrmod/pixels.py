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
from tfrmod.likeness import difference_hash
from tfrmod.orientation import TURNS, UPRIGHT, exif_orientation, swaps_sides, upright

MAX_PIXELS = 178_956_970
"""Largest photo opened by default: 512 MiB as RGB, the limit Pillow knows too."""
_ORIENTATION = 0x0112
_SMALL_PIXELS = 512 * 512
_MAX_JPEG_SIDE = 65_500
_JPEG_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_JPEG_PLAIN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # Baseline, extended, progressive; all Huffman-coded.
# Transparency, EXIF, and texts, which may hold EXIF too.
_PNG_CHUNKS_THAT_MATTER = frozenset({b"tRNS", b"eXIf", b"tEXt", b"zTXt", b"iTXt"})
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
_END_BYTES = 2048
_LIKENESS_SIDE = 48  # Pixels of a side that suffice for the likeness.


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
    given_size: tuple[int, int] | None = None
    """(height, width) of the upright picture before it was made smaller; None where it was not."""
    likeness: int | None = None
    """Its `likeness.difference_hash`; None where nothing was decoded."""

    @property
    def upright_size(self) -> tuple[int, int]:
        """Returns (height, width) of the picture in the given file, turned upright but not made smaller."""
        return self.given_size or (self.height, self.width)

    @property
    def stored_size(self) -> tuple[int, int]:
        """Returns (height, width) of the picture in the given file, before it was turned upright."""
        height, width = self.upright_size
        return (width, height) if swaps_sides(self.orientation) else (height, width)


class Header(NamedTuple):
    """What the first bytes of a photo say, nothing being decoded."""

    height: int
    width: int
    orientation: int
    is_plain: bool
    """The bytes may be handed on as they are, once they have been seen to decode."""
    is_bare: bool = True
    """Nothing behind the header can turn the picture or make it transparent."""


def check_photo(data: bytes, *, max_pixels: int = MAX_PIXELS, longest_side: int = 0, is_trusted: bool = False) -> Photo:
    """Returns the photo in `data`, its bytes unchanged wherever they are fine as they are.

    A JPEG is checked through all its entropy-coded data, but only an eighth of
    each side is reconstructed: the same faults are found in half the time.

    Args:
      data: the file.
      max_pixels: a photo of more is not opened.
      longest_side: a photo with a longer side is made smaller; 0 leaves all as they are.
      is_trusted: do not decode what could be handed on unchanged; then damage
        within the file is not found, and there is no likeness.

    Raises:
      PhotoError: no photo, damaged, or with more than `max_pixels` pixels.
    """
    content, header = _header(data, max_pixels)
    is_fine = header.is_plain and header.orientation == UPRIGHT and not 0 < longest_side < max(header[:2])
    size = (header.height, header.width)
    if is_fine and is_trusted and header.is_bare and _has_end(data, content):
        return Photo(data, content.lower(), *size, UPRIGHT, content)
    if is_fine and content == "JPEG":
        return Photo(data, "jpeg", *size, UPRIGHT, content, likeness=difference_hash(_decoded_roughly(data)))
    image, orientation, turn = _loaded(data, content, longest_side)
    if is_fine and orientation == UPRIGHT and _is_solid(image):
        return Photo(data, "png", *size, UPRIGHT, content, likeness=difference_hash(image))
    image = _shrunk(upright(_rgb(image), turn), longest_side)
    encoded, name = _encoded(image, is_lossless=content not in ("JPEG", "WEBP"))
    given_size = size[::-1] if swaps_sides(orientation) else size
    return Photo(encoded, name, image.height, image.width, orientation, content, given_size, difference_hash(image))


def decode_photo(data: bytes | Path, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Returns the upright picture, uint8 RGB (h, w, 3), of any photo that `check_photo` takes.

    Raises:
      PhotoError: no photo, damaged, or too large.
    """
    if isinstance(data, Path):
        data = data.read_bytes()
    content, _ = _header(data, max_pixels)
    image, _, turn = _loaded(data, content)
    return np.array(upright(_rgb(image), turn))


def upright_size(data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Returns (height, width) of the picture as it is meant to be looked at, without decoding it.

    Raises:
      PhotoError: no photo, or with more than `max_pixels` pixels.
    """
    return image_sizes(data, max_pixels=max_pixels)[0]


def image_sizes(data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns (height, width) of the upright image and of the stored pixels, without decoding it.

    Raises:
      PhotoError: no image, or with more than `max_pixels` pixels.
    """
    content, header = _header(data, max_pixels)
    turn = header.orientation
    if content == "TIFF":
        turn = _tiff_orientation(_opened(data, content))
    elif content == "WEBP" or not header.is_bare:
        turn = _exif_orientation(_opened(data, content), content)
    stored = (header.height, header.width)
    return (stored[::-1] if swaps_sides(turn) else stored), stored


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
    """Walks the chunks before the pixels."""
    width, height, depth, color = struct.unpack_from(">IIBB", data, 16)
    kinds: set[bytes] = set()
    position = 8
    while position + 8 <= len(data) and not kinds & {b"IDAT", b"IEND"}:
        length, kind = struct.unpack_from(">I4s", data, position)
        kinds.add(kind)
        position += 12 + length
    is_plain = depth <= 8 and color in (0, 2, 3)
    return Header(height, width, UPRIGHT, is_plain, is_bare=not kinds & _PNG_CHUNKS_THAT_MATTER)


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
    height, width = image.height, image.width
    if swaps_sides(_tiff_orientation(image)):  # Pillow tells the sides of the upright picture.
        height, width = width, height
    return Header(height, width, UPRIGHT, is_plain=False)


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


def _has_end(data: bytes, content: str) -> bool:
    """Returns whether the mark that ends a photo stands near the end of its file: quick, and finds what was cut off."""
    return _ENDS[content] in data[-_END_BYTES:]


def _decoded_roughly(data: bytes) -> Image.Image:
    """Returns a grey picture of an eighth of a JPEG's sides, a tiny one's larger; all of its data are read."""
    image = _opened(data, "JPEG")
    image.draft("L", (max(_LIKENESS_SIDE, image.width // 8), max(_LIKENESS_SIDE, image.height // 8)))
    _load(image)
    return image


def _loaded(data: bytes, content: str, longest_side: int = 0) -> tuple[Image.Image, int, int]:
    """Returns the stored picture, the EXIF orientation it had, and the one that is still to be applied.

    Args:
      data: the file.
      content: its format.
      longest_side: where the picture is to be made smaller, a JPEG is decoded no larger than needed for that.
    """
    image = _opened(data, content)
    if content == "JPEG" and longest_side:
        image.draft(None, (2 * longest_side, 2 * longest_side))
    stated = _tiff_orientation(image)
    _load(image)
    if content == "TIFF":
        return image, stated, _tiff_orientation(image)  # Pillow turns it itself while loading, and drops the tag.
    stated = _exif_orientation(image, content)
    return image, stated, stated


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


def _is_solid(image: Image.Image) -> bool:
    """Returns whether a picture has no alpha channel and no colour that stands for one."""
    return "transparency" not in image.info and not image.mode.upper().endswith("A")


def _rgb(image: Image.Image) -> Image.Image:
    """Returns the picture in RGB.

    What shines through is white, as in a browser. 16 bits lose their lower
    half; Pillow's own conversion would clip them instead.

    Raises:
      PhotoError: its colours have no way to RGB.
    """
    if image.mode.startswith("I"):
        values = np.asarray(image)
        values = values if values.dtype.itemsize == 2 else values.clip(0, 0xFFFF)
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    try:
        if image.mode == "F":
            raise ValueError("floating point")
        if _is_solid(image):
            return image.convert("RGB")
        image = image.convert("RGBA")
    except (ValueError, OSError) as error:
        raise PhotoError(f"its colours (mode {image.mode}) have no way to RGB") from error
    if image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    ground = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(ground, image).convert("RGB")


def _shrunk(image: Image.Image, longest_side: int) -> Image.Image:
    """Returns the picture with no side longer than that, its shape kept to the pixel."""
    longest = max(image.size)
    if not 0 < longest_side < longest:
        return image
    width, height = (max(1, round(side * longest_side / longest)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def _encoded(image: Image.Image, *, is_lossless: bool) -> tuple[bytes, str]:
    """Returns the picture as PNG where that keeps it whole at little cost, else as a fine JPEG."""
    out = io.BytesIO()
    is_small = image.height * image.width <= _SMALL_PIXELS
    if (is_lossless and is_small) or max(image.size) > _MAX_JPEG_SIDE:
        image.save(out, "PNG")
        return out.getvalue(), "png"
    image.save(out, "JPEG", quality=95, subsampling=0)
    return out.getvalue(), "jpeg"
