"""The size at which the masks of an image are drawn, decided before anything is drawn."""

from collections.abc import Iterable
from pathlib import Path

from tfrmod.annotated_image import Box
from tfrmod.errors import DatasetError
from tfrmod.sources.image_size import image_sizes
from tfrmod.stated_size import fits, is_near

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
