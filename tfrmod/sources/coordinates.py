"""Coordinates of annotations: their unit, the image size they refer to, and the size of mask canvases."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from tfrmod import image_file
from tfrmod.annotated_image import Box
from tfrmod.errors import DatasetError
from tfrmod.stated_size import fits, is_near

Unit = Literal["pixels", "fractions", "unclear"]
# Fractions may miss the edge by some rounding or a clipped object; pixels so near to the corner mark nothing.
_LOWEST, _HIGHEST = -0.5, 1.5


def unit_of(boxes: Iterable[Box]) -> Unit:
    """Returns what the numbers of all the boxes of one image are.

    Fractions never pass for pixels: they would be boxes of less than a pixel in
    the upper left corner. Where some boxes are of the one kind and some of the
    other, or the numbers are 0 and 1 alone, the unit is unclear.

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
    """Returns (height, width) of the upright image; (0, 0) where the file is no image that can be used.

    What is the matter with such a file is said by the validation of its
    pixels, which comes next and leaves it out.
    """
    return image_sizes(path)[0]


def image_sizes(path: Path) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns (height, width) of the upright image and of the stored pixels; (0, 0) twice where it cannot be used."""
    try:
        return image_file.image_sizes(path.read_bytes())
    except (DatasetError, OSError):
        return (0, 0), (0, 0)


_MOST_TIMES = 16


def canvas_size(path: Path, stated: tuple[int, int], boxes: Iterable[Box]) -> tuple[int, int]:
    """Returns (height, width): of the image, whatever a file states, unless its boxes are on the stated size.

    An image that was resized after it was annotated has its boxes and masks
    scaled together later. (0, 0) for an image that cannot be read, and is left
    out.

    Args:
      path: of the image.
      stated: (height, width) in the annotation, 0 where it is silent.
      boxes: all of the image.

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
