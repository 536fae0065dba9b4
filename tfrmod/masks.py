"""Masks of objects and of classes, as grayscale PNG images of the image's size.

Records store masks as PNG, and so do the values that become records; outlines
and run lengths are rasterized as soon as they are read.
"""

import io
import math
import struct
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from tfrmod.annotated_image import AnnotatedImage, Box
from tfrmod.errors import DatasetError
from tfrmod.exif import upright

IGNORED = 255
"""Value of ignored pixels in a semantic mask."""
MAX_PIXELS = 178_956_970
_MAX_RUNS = 1 << 22
_FORMATS = ("PNG", "BMP", "GIF", "TIFF")
_PNG_SIZE = struct.Struct(">II")  # Width and height, after the signature and the name of the first chunk.
_FAST = 1  # Masks are large uniform areas: more effort saves only a few hundred bytes.


def polygons_png(polygons: Sequence[Sequence[float]], height: int, width: int) -> bytes:
    """Returns the mask of the union of polygons, by COCO's rule for pixels on the edge.

    Args:
      polygons: each (x, y, x, y, …) in pixels.
      height: of the image.
      width: of the image.

    Raises:
      DatasetError: there is no polygon, one has fewer than three points, or a coordinate is not finite.
    """
    _check_size(height, width)
    if not polygons:
        raise DatasetError("an outline without polygons")
    clipped = []
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2 or not all(map(_is_number, polygon)):
            raise DatasetError(f"a polygon needs at least three points, an x and a y each; this has {polygon!s:.60}")
        # Clipped, because the cost of drawing grows with the length of an edge, also outside of the image.
        limits = np.array([width, height], np.float64)
        points = np.clip(np.asarray(polygon, np.float64).reshape(-1, 2), -limits, 2 * limits)
        clipped.append(points.ravel().tolist())
    runs = coco_mask.merge(coco_mask.frPyObjects(clipped, height, width))
    return array_png(coco_mask.decode(runs))


def rle_png(counts: Any, height: int, width: int) -> bytes:
    """Returns the mask of COCO's run lengths, which are column-major: a list, or the compressed text.

    Raises:
      DatasetError: they are malformed, or do not fill the image.
    """
    counts = _checked_counts(counts, height, width)
    values = np.arange(len(counts), dtype=np.uint8) % 2
    return array_png(np.repeat(values, counts).reshape(width, height).T)


def rle_box(counts: Any, height: int, width: int) -> Box:
    """Returns the bounding box (y0, x0, y1, x1) of COCO's run lengths, without rasterizing them.

    Raises:
      DatasetError: they are malformed, do not fill the image, or are empty.
    """
    ends = np.cumsum(_checked_counts(counts, height, width))
    starts, ends = ends[0:-1:2], ends[1::2]
    starts, ends = starts[ends > starts], ends[ends > starts]
    if not len(starts):
        raise DatasetError("run lengths that cover nothing")
    left, right = starts // height, (ends - 1) // height
    # A run that continues in the next column touches the lower and the upper edge.
    is_one_column = left == right
    top = np.where(is_one_column, starts % height, 0)
    bottom = np.where(is_one_column, (ends - 1) % height, height - 1)
    return float(top.min()), float(left.min()), float(bottom.max() + 1), float(right.max() + 1)


def _checked_counts(counts: Any, height: int, width: int) -> list[int]:
    _check_size(height, width)
    if isinstance(counts, str | bytes):
        counts = _decompressed(counts)
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        raise DatasetError(f"run lengths are whole numbers; these are {counts!s:.60}")
    if sum(counts) != height * width:
        raise DatasetError(f"run lengths for {sum(counts)} pixels, where {width}x{height} has {height * width}")
    return counts


def array_png(values: np.ndarray) -> bytes:
    """Returns a grayscale PNG with these values, uint8 (h, w)."""
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(values)).save(out, "PNG", compress_level=_FAST)
    return out.getvalue()


def png_array(data: bytes) -> np.ndarray:
    """Returns the values of a mask image, (h, w): gray levels (uint8 or uint16), palette indices, or 0 and 1.

    A color image gives (h, w, 3).

    Raises:
      DatasetError: it is not an image of a lossless format, or is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
            _check_size(image.height, image.width)
            image.load()
    except DatasetError:
        raise
    except Exception as error:  # Decoders may raise many exceptions.
        raise DatasetError(
            f"a mask must be a PNG, BMP, GIF or TIFF image that can be read ({str(error).partition(' <')[0]})"
        ) from error
    if image.mode in ("1", "L", "P", "I", "I;16", "I;16B"):
        values = np.asarray(image)
    elif image.mode == "LA":
        values = np.asarray(image.getchannel("L"))
    else:
        values = np.asarray(image.convert("RGB"))
        if (values == values[..., :1]).all():
            values = values[..., 0]
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.dtype.itemsize > 1:
        if values.min() < 0 or values.max() > 0xFFFF:
            raise DatasetError(f"a mask with values from {values.min()} to {values.max()}; allowed are 0 to 65535")
        return values.astype(np.uint16)
    return values


def class_png(data: bytes, numbers: Mapping[int | tuple[int, int, int], int] | None = None) -> bytes:
    """Returns a semantic mask in the form of records: grayscale, the class id of each pixel.

    Args:
      data: the mask image.
      numbers: {value or color: class id}; None uses the values unchanged.

    Raises:
      DatasetError: it cannot be read, has colors without a class, or values above 255.
    """
    values = png_array(data)
    if values.ndim == 3:
        return array_png(_colors_named(values, numbers or {}))
    if values.max(initial=0) > IGNORED:
        raise DatasetError(
            f"a mask with the value {values.max()}, where class ids end at {IGNORED - 1}; save the ids in 8 bits"
        )
    if numbers is not None:
        table = np.arange(IGNORED + 1, dtype=np.uint8)
        for value, number in numbers.items():
            if isinstance(value, int) and 0 <= value <= IGNORED:
                table[value] = number
        values = table[values]
    return array_png(values.astype(np.uint8))


def fitted(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns a mask in the size of its image: unchanged, or resized by nearest neighbor if the aspect ratios agree.

    Args:
      values: (h, w) or (h, w, 3).
      size: (height, width) of the image, upright; a mask may have the
        orientation of the stored pixels, a quarter turn off. (0, 0) for an image that cannot be read.

    Raises:
      DatasetError: its aspect ratio differs from the image's by more than a pixel of rounding.
    """
    shape = values.shape[:2]
    sizes = (size, size[::-1])
    if shape in sizes or 0 in size:
        return values
    for height, width in sizes:
        down, across = sorted((shape[0], height)), sorted((shape[1], width))
        if abs(down[0] / down[1] - across[0] / across[1]) < 1 / down[1] + 1 / across[1]:
            rows = (2 * np.arange(height) + 1) * shape[0] // (2 * height)
            columns = (2 * np.arange(width) + 1) * shape[1] // (2 * width)
            return values[rows[:, None], columns]
    raise DatasetError(
        f"a mask of {shape[1]}x{shape[0]} pixels on an image of {size[1]}x{size[0]}, whose aspect ratio differs"
    )


def placed(image: AnnotatedImage, *, turn: int, stored_size: tuple[int, int], size: tuple[int, int]) -> AnnotatedImage:
    """Returns the image with its masks in the coordinates of the final image, like its boxes.

    A mask of another size than the image is used pixel by pixel, like a box: it
    is cropped or padded, with 0 or, if it is a semantic mask, with ignored
    pixels.

    Args:
      image: with masks as given by the source.
      turn: EXIF orientation still to be applied to the masks, 1 for none.
      stored_size: (height, width) of the image before that rotation.
      size: (height, width) of the final image, upright and possibly downscaled.
    """
    if not image.segmentation and not any(obj.mask for obj in image.objects):
        return image
    objects = tuple(
        obj._replace(mask=_placed_png(obj.mask, turn, stored_size, size)) if obj.mask else obj for obj in image.objects
    )
    segmentation = _placed_png(image.segmentation, turn, stored_size, size, IGNORED) if image.segmentation else b""
    return replace(image, objects=objects, segmentation=segmentation)


def _placed_png(data: bytes, turn: int, stored_size: tuple[int, int], size: tuple[int, int], beyond: int = 0) -> bytes:
    if turn == 1 and _PNG_SIZE.unpack_from(data, 16)[::-1] == size == stored_size:
        return data
    values = png_array(data)
    canvas = np.full(stored_size, beyond, np.uint8)
    height, width = (min(*sides) for sides in zip(values.shape, stored_size, strict=True))
    canvas[:height, :width] = values[:height, :width]
    picture = upright(Image.fromarray(canvas), turn)
    if (picture.height, picture.width) != size:
        picture = picture.resize((size[1], size[0]), Image.Resampling.NEAREST)
    return array_png(np.asarray(picture))


def _colors_named(values: np.ndarray, numbers: Mapping[int | tuple[int, int, int], int]) -> np.ndarray:
    codes = (values.astype(np.uint32) * np.array([1 << 16, 1 << 8, 1], np.uint32)).sum(-1)
    classes = np.zeros(codes.shape, np.uint8)
    for code in np.unique(codes).tolist():
        color = (code >> 16, code >> 8 & 255, code & 255)
        number = numbers.get(color, {(0, 0, 0): 0, (255, 255, 255): IGNORED}.get(color))
        if number is None:
            raise DatasetError(
                f"a color mask with {color}, which is in no list of classes; save class ids as gray levels"
            )
        classes[codes == code] = number
    return classes


def _decompressed(text: str | bytes) -> list[int]:
    """Returns the run lengths of COCO's compressed text: 5 bits per character, differences from the third run on.

    pycocotools would read beyond the end of a malformed text.
    """
    letters = text.encode("latin-1", "replace") if isinstance(text, str) else text
    counts: list[int] = []
    value = shift = 0
    for letter in letters:
        bits = letter - 48
        if not 0 <= bits < 64 or shift > 30 or len(counts) > _MAX_RUNS:
            raise DatasetError(f"compressed run lengths with an unknown letter or no end: {text!s:.40}")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = shift = 0
    if shift:
        raise DatasetError("compressed run lengths that end early")
    return counts


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise DatasetError(f"a mask of {width}x{height} pixels")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
