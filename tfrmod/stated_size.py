"""Resolution of annotations whose stated image size differs from the actual one, by the position of their boxes."""

from collections.abc import Iterable
from dataclasses import replace

from tfrmod import masks
from tfrmod.annotated_image import AnnotatedImage, Box
from tfrmod.errors import DatasetError
from tfrmod.image_file import CheckedImage
from tfrmod.problems import Problem

# Tolerance in pixels for sizes and box edges: rounding, and 1-based coordinates.
_ROUNDING = 2


def resolve_stated_size(claim: AnnotatedImage, image: CheckedImage) -> tuple[AnnotatedImage | None, list[Problem]]:
    """Returns the annotation in pixels of the image, and the problems; None if that is ambiguous.

    Images are resized after annotation, and some stated sizes are wrong. The
    boxes decide if they fit only one of the two sizes. If they fit both, or
    neither, either choice could misplace every box, and the image is left out.

    Args:
      claim: the annotation as stated.
      image: the actual image.
    """
    stated, actual = (claim.height, claim.width), image.upright_size
    sizes = (actual, image.stored_size)
    if not claim.objects or 0 in stated or any(is_near(stated, size) for size in sizes):
        return claim, []
    boxes = [obj.box for obj in claim.objects]
    fits_actual, fits_stated = fits(boxes, actual), fits(boxes, stated)
    if fits_actual and not fits_stated:
        return claim, []
    y_scale, x_scale = actual[0] / stated[0], actual[1] / stated[1]
    message = f"states {stated[1]}x{stated[0]}, is {actual[1]}x{actual[0]}"
    is_resized = abs(stated[0] * x_scale - actual[0]) <= 1 or abs(actual[1] / y_scale - stated[1]) <= 1
    if fits_stated and not fits_actual and is_resized:
        return _scaled(claim, actual), [Problem("boxes_rescaled", claim.filename, message)]
    message = f"{message}; correct the size in the annotation, or remove it where the boxes fit the image"
    return None, [Problem("image_size_unclear", claim.filename, message)]


def is_near(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Returns whether two sizes are equal except for rounding."""
    return all(abs(a - b) <= _ROUNDING for a, b in zip(one, other, strict=True))


def fits(boxes: Iterable[Box], size: tuple[int, int]) -> bool:
    """Returns whether no box extends beyond the right or lower edge of an image, except for rounding."""
    height, width = size
    return all(max(y0, y1) <= height + _ROUNDING and max(x0, x1) <= width + _ROUNDING for y0, x0, y1, x1 in boxes)


def _scaled(claim: AnnotatedImage, size: tuple[int, int]) -> AnnotatedImage:
    y_scale, x_scale = size[0] / claim.height, size[1] / claim.width
    objects = []
    for obj in claim.objects:
        y0, x0, y1, x1 = obj.box
        area = None if obj.mask_area is None else obj.mask_area * y_scale * x_scale
        box = (y0 * y_scale, x0 * x_scale, y1 * y_scale, x1 * x_scale)
        objects.append(obj._replace(box=box, mask_area=area, mask=_resized(obj.mask, size)))
    segmentation = _resized(claim.segmentation, size)
    return replace(claim, objects=tuple(objects), height=size[0], width=size[1], segmentation=segmentation)


def _resized(mask: bytes, size: tuple[int, int]) -> bytes:
    """Returns a mask resized to the image, "" if there is none."""
    if not mask:
        return mask
    try:
        return masks.array_png(masks.fitted(masks.png_array(mask), size))
    except DatasetError:
        return b""
