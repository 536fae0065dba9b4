"""Coordinates of annotations: their unit, the image size they refer to, and the size of mask canvases."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from tfrmod import image_file
from tfrmod.annotated_image import Box
from tfrmod.errors import DatasetError
from tfrmod.stated_size import fits, is_near

Unit = Literal["pixels", "fractions", "unclear"]
# Fractions may exceed the edge by rounding or a clipped object; pixels so close to the corner mark no object.
_LOWEST, _HIGHEST = -0.5, 1.5


def unit_of(boxes: Iterable[Box]) -> Unit:
    """Returns the unit of the coordinates of all boxes of one image.

    Fractions are never taken for pixels: they would be boxes of less than a
    pixel in the upper left corner. If some boxes have one unit and some the
    other, or all numbers are 0 and 1, the unit is unclear.

    >>> unit_of([(0.1, 0.2, 0.3, 0.4)]), unit_of([(10, 20, 30, 40)])
    ('fractions', 'pixels')
    >>> unit_of([(0, 0, 1, 1)]), unit_of([(0.1, 0.2, 0.3, 0.4), (10, 20, 30, 40)])
    ('unclear', 'unclear')
    """
    num_small = num_large = num_fractions = 0
    is_whole = False
    for box in boxes:
        if all(_LOWEST <= side <= _HIGHEST for side in box):
            num_small += 1
            num_fractions += any(not float(side).is_integer() for side in box)
            is_whole |= box[0] != box[2] and box[1] != box[3]
        else:
            num_large += 1
    if num_large:
        return "unclear" if num_fractions else "pixels"
    if num_fractions:
        return "fractions"
    return "unclear" if num_small and is_whole else "pixels"


def upright_size(path: Path) -> tuple[int, int]:
    """Returns (height, width) of the upright image; (0, 0) if the file is not a usable image.

    The validation of the image, which comes later, reports the fault and leaves
    it out.
    """
    return image_sizes(path)[0]


def image_sizes(path: Path) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns (height, width) of the upright image and of the stored pixels; (0, 0) twice if it is not usable."""
    try:
        return image_file.image_sizes(path.read_bytes())
    except (DatasetError, OSError):
        return (0, 0), (0, 0)


_MOST_TIMES = 16


def canvas_size(path: Path, stated: tuple[int, int], boxes: Iterable[Box]) -> tuple[int, int]:
    """Returns (height, width) of the image, or the stated size if the boxes refer to that.

    For an image that was resized after annotation, boxes and masks are scaled
    together later. (0, 0) for an image that cannot be read, and is left out.

    Args:
      path: of the image.
      stated: (height, width) in the annotation, 0 if not stated.
      boxes: all boxes of the image.

    Raises:
      DatasetError: the stated size is many times the image's.
    """
    upright, stored = image_sizes(path)
    if 0 in stated or 0 in upright:
        return upright
    for size in (upright, stored):
        if is_near(stated, size):
            return size
    if fits(boxes, upright):
        return upright
    if stated[0] * stated[1] > _MOST_TIMES * upright[0] * upright[1]:
        raise DatasetError(
            f"masks for {stated[1]}x{stated[0]} pixels, and the image has {upright[1]}x{upright[0]}; left out"
        )
    return stated
