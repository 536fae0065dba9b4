"""Image decoding and validation: type by content, size before decoding, truncation, orientation, RGB.

All modules of the package that open an image use it, so that training,
evaluation and inference get the same pixels.
"""

import io
import struct
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, JpegImagePlugin, TiffImagePlugin

from tfrmod.exif import TURNS, UPRIGHT, exif_orientation, swaps_sides, upright
from tfrmod.file_types import described, image_format
from tfrmod.image_headers import Header, ImageError, bmp_header, gif_header, jpeg_header, png_header, webp_header
from tfrmod.jpeg_truncation import Checked, TruncatedError, checked, holds_its_pixels, structure_of
from tfrmod.near_duplicates import difference_hash

MAX_PIXELS = 178_956_970
"""Largest image opened by default: 512 MiB as RGB, Pillow's limit too."""
_ORIENTATION = 0x0112
_SMALL_PIXELS = 512 * 512
_MAX_JPEG_SIDE = 65_500
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
_END_BYTES = 2048
_HASH_SIDE = 48  # Smallest side in pixels for the image hash.


class CheckedImage(NamedTuple):
    """A validated image in the form for a record."""

    encoded: bytes
    """Upright, without transparency, 8 bits per channel: tf.io.decode_image(channels=3) decodes it correctly."""
    format: str
    """jpeg or png."""
    height: int
    width: int
    """Of the upright image."""
    orientation: int
    """EXIF orientation of the original file; that of `encoded` is 1."""
    content: str
    """Format of the original file: JPEG, PNG, GIF, BMP, WEBP, TIFF."""
    given_size: tuple[int, int] | None = None
    """(height, width) of the upright image before downscaling; None if it was not downscaled."""
    image_hash: int | None = None
    """Its `near_duplicates.difference_hash`; None if it was not decoded."""
    missing: float = 0.0
    """Fraction of the image missing in the original file, up to `jpeg_truncation.MAX_MISSING`."""

    @property
    def upright_size(self) -> tuple[int, int]:
        """Returns (height, width) of the original image, upright and not downscaled."""
        return self.given_size or (self.height, self.width)

    @property
    def stored_size(self) -> tuple[int, int]:
        """Returns (height, width) of the original image as stored, before rotation."""
        height, width = self.upright_size
        return (width, height) if swaps_sides(self.orientation) else (height, width)


def check_image(
    data: bytes, *, max_pixels: int = MAX_PIXELS, longest_side: int = 0, is_trusted: bool = False
) -> CheckedImage:
    """Returns the image in `data`, with unchanged bytes if they need no change.

    All entropy-coded data of a JPEG are decoded, but only an eighth of each side
    is reconstructed: this finds the same faults in half the time.

    Args:
      data: content of the file.
      max_pixels: larger images are not opened.
      longest_side: images with a longer side are downscaled; 0: no scaling.
      is_trusted: do not decode images whose bytes need no change; damage inside
        the file is then not found, and there is no image hash.

    Raises:
      ImageError: it is not an image, is damaged, or has more than `max_pixels` pixels.
    """
    content, header = _header(data, max_pixels)
    is_fine = header.is_plain and header.orientation == UPRIGHT and not 0 < longest_side < max(header[:2])
    size = (header.height, header.width)
    if is_fine and is_trusted and header.is_bare and _has_end(data, content):
        return CheckedImage(data, content.lower(), *size, UPRIGHT, content)
    if is_fine and content == "JPEG":
        whole, rough = _whole_jpeg(data)
        hashed = difference_hash(rough)
        return CheckedImage(whole.data, "jpeg", *size, UPRIGHT, content, image_hash=hashed, missing=whole.missing)
    (image, orientation, turn), missing = _loaded_whole(data, content, longest_side)
    if is_fine and orientation == UPRIGHT and _is_solid(image):
        return CheckedImage(data, "png", *size, UPRIGHT, content, image_hash=difference_hash(image))
    image = _shrunk(upright(_rgb(image), turn), longest_side)
    encoded, name = _encoded(image, is_lossless=content not in ("JPEG", "WEBP"))
    given_size = size[::-1] if swaps_sides(orientation) else size
    return CheckedImage(
        encoded, name, image.height, image.width, orientation, content, given_size, difference_hash(image), missing
    )


def decode_image(data: bytes | Path, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Returns the upright image, uint8 RGB (h, w, 3), for any image that `check_image` accepts.

    Raises:
      ImageError: it is not an image, is damaged, or too large.
    """
    if isinstance(data, Path):
        data = data.read_bytes()
    content, _ = _header(data, max_pixels)
    (image, _, turn), _ = _loaded_whole(data, content)
    return np.array(upright(_rgb(image), turn))


def upright_size(data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Returns (height, width) of the image in upright orientation, without decoding it.

    Raises:
      ImageError: it is not an image, or has more than `max_pixels` pixels.
    """
    return image_sizes(data, max_pixels=max_pixels)[0]


def image_sizes(data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns (height, width) of the upright image and of the stored pixels, without decoding it.

    Raises:
      ImageError: it is not an image, or has more than `max_pixels` pixels.
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
    """Returns the format and header of an image, after its size was checked."""
    content = image_format(data)
    if content is None:
        raise ImageError(f"expected a JPEG, PNG, BMP, WebP, TIFF or GIF image; it is {described(data)}")
    try:
        header = _HEADERS[content](data)
    except (struct.error, IndexError) as error:
        raise ImageError(f"its {content} header is broken") from error
    if header.height < 1 or header.width < 1:
        raise ImageError(f"its {content} header states a size of {header.width}x{header.height} pixels")
    if header.height * header.width > max_pixels:
        size = f"{header.width}x{header.height}"
        raise ImageError(
            f"{size} pixels, where at most {max_pixels:,} are opened; resize it, or cut it into smaller images",
            "image_too_large",
        )
    # No JPEG of that size has more bytes than this.
    is_short = content == "JPEG" and 64 * len(data) < header.height * header.width
    if is_short and not holds_its_pixels(data, structure_of(data)):
        size = f"{header.width}x{header.height}"
        raise ImageError(f"it is truncated: its {len(data):,} bytes cannot hold {size} pixels, as its header states")
    return content, header


def _tiff_header(data: bytes) -> Header:
    """Reads the header with Pillow, which reads only the directory of a TIFF until its pixels are requested."""
    image = _opened(data, "TIFF")
    height, width = image.height, image.width
    if swaps_sides(_tiff_orientation(image)):  # Pillow reports the size of the upright image.
        height, width = width, height
    return Header(height, width, UPRIGHT, is_plain=False)


_HEADERS = {
    "JPEG": jpeg_header,
    "PNG": png_header,
    "GIF": gif_header,
    "BMP": bmp_header,
    "WEBP": webp_header,
    "TIFF": _tiff_header,
}


def _opened(data: bytes, content: str) -> Image.Image:
    try:
        if content == "JPEG":
            # Not Image.open: for images with an MPF block it uses another plugin, which reads beyond the first image.
            return JpegImagePlugin.JpegImageFile(io.BytesIO(data))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Image.open(io.BytesIO(data), formats=[content])
    except Image.DecompressionBombError as error:
        raise ImageError(str(error), "image_too_large") from error
    except Exception as error:  # Decoders may raise many exceptions.
        raise ImageError(f"its {content} header cannot be read ({error})") from error


def _load(image: Image.Image) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.load()
    except Image.DecompressionBombError as error:
        raise ImageError(str(error), "image_too_large") from error
    except Exception as error:  # See above.
        raise ImageError(f"its pixels cannot be read ({str(error) or type(error).__name__})") from error


def _has_end(data: bytes, content: str) -> bool:
    """Returns whether the format's end marker is near the end of the file; a fast check for truncation."""
    return _ENDS[content] in data[-_END_BYTES:]


def _decoded_roughly(data: bytes) -> Image.Image:
    """Returns a gray image with an eighth of a JPEG's sides, more for tiny images; decodes all of its data."""
    image = _opened(data, "JPEG")
    image.draft("L", (max(_HASH_SIDE, image.width // 8), max(_HASH_SIDE, image.height // 8)))
    _load(image)
    return image


def _decoded(data: bytes) -> Image.Image:
    image = _opened(data, "JPEG")
    _load(image)
    return image


def _whole_jpeg(data: bytes) -> tuple[Checked, Image.Image]:
    """Returns a JPEG of which almost nothing is missing, and its reduced image.

    Raises:
      ImageError: it cannot be decoded, or too much is missing.
    """
    rough, failure = None, None
    try:
        rough = _decoded_roughly(data)
    except ImageError as error:
        failure = error
    try:
        found = checked(data, rough, _decoded)
    except TruncatedError as error:
        raise failure or ImageError(str(error)) from error
    return found, rough or _decoded_roughly(found.data)


def _loaded_whole(data: bytes, content: str, longest_side: int = 0) -> tuple[tuple[Image.Image, int, int], float]:
    """Returns the result of `_loaded`, and the fraction of the image that is missing."""
    if content != "JPEG":
        return _loaded(data, content, longest_side), 0.0
    try:
        loaded = _loaded(data, content, longest_side)
        if not _ends_mid_grey(loaded[0]):
            return loaded, 0.0
    except ImageError:
        """Checked below."""
    whole, _ = _whole_jpeg(data)
    return _loaded(whole.data, content, longest_side), whole.missing


def _ends_mid_grey(image: Image.Image) -> bool:
    """Returns whether the end of an image may be libjpeg's substitute for missing data."""
    last = image.getpixel((image.width - 1, image.height - 1))
    return image.mode not in ("RGB", "L") or last in (128, (128, 128, 128))


def _loaded(data: bytes, content: str, longest_side: int = 0) -> tuple[Image.Image, int, int]:
    """Returns the stored image, its EXIF orientation, and the orientation that still has to be applied.

    Args:
      data: content of the file.
      content: its format.
      longest_side: if the image will be downscaled, a JPEG is decoded no larger than needed for that.
    """
    image = _opened(data, content)
    if content == "JPEG" and longest_side:
        image.draft(None, (2 * longest_side, 2 * longest_side))
    stated = _tiff_orientation(image)
    _load(image)
    if content == "TIFF":
        return image, stated, _tiff_orientation(image)  # Pillow rotates it while loading, and drops the tag.
    stated = _exif_orientation(image, content)
    return image, stated, stated


def _exif_orientation(image: Image.Image, content: str) -> int:
    if content == "JPEG":
        return exif_orientation(image.info.get("exif") or b"")
    try:
        value = image.getexif().get(_ORIENTATION, UPRIGHT)  # For PNG, also EXIF that ImageMagick writes as text.
    except Exception:  # Damaged EXIF may raise many exceptions, and counts as none.
        return UPRIGHT
    return value if value in TURNS else UPRIGHT


def _tiff_orientation(image: Image.Image) -> int:
    value = image.tag_v2.get(_ORIENTATION, UPRIGHT) if isinstance(image, TiffImagePlugin.TiffImageFile) else UPRIGHT
    return value if value in TURNS else UPRIGHT


def _is_solid(image: Image.Image) -> bool:
    """Returns whether an image has neither an alpha channel nor a transparent color."""
    return "transparency" not in image.info and not image.mode.upper().endswith("A")


def _rgb(image: Image.Image) -> Image.Image:
    """Returns the image in RGB.

    Transparent pixels are white, as in a browser. 16-bit values lose their lower
    byte; Pillow's own conversion would clip them instead.

    Raises:
      ImageError: its color mode cannot be converted to RGB.
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
        raise ImageError(f"its color mode {image.mode} cannot be converted to RGB") from error
    if image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    ground = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(ground, image).convert("RGB")


def _shrunk(image: Image.Image, longest_side: int) -> Image.Image:
    """Returns the image downscaled so that no side is longer than `longest_side`, with the aspect ratio kept."""
    longest = max(image.size)
    if not 0 < longest_side < longest:
        return image
    width, height = (max(1, round(side * longest_side / longest)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def _encoded(image: Image.Image, *, is_lossless: bool) -> tuple[bytes, str]:
    """Returns the image as PNG if that is lossless at little cost, else as a high-quality JPEG."""
    out = io.BytesIO()
    is_small = image.height * image.width <= _SMALL_PIXELS
    if (is_lossless and is_small) or max(image.size) > _MAX_JPEG_SIDE:
        image.save(out, "PNG")
        return out.getvalue(), "png"
    image.save(out, "JPEG", quality=95, subsampling=0)
    return out.getvalue(), "jpeg"
