"""Canvas of a data set: a size in pixels, in the proportions of its images."""

from dataclasses import dataclass

import numpy as np

from efficientdet_pipeline.models.anchor_fit import canvas_scales

SIDES = (256, 320)
SIDES_WITH_ACCELERATOR = (*SIDES, 384, 512, 640)
"""Sides in pixels of the squares that recipes choose from; 256 is the smallest for which they were measured."""

MULTIPLE = 32
"""Sides are multiples of this."""

WORTH = 1.05
"""Factor by which images must be larger on an oblong than on the square of as many pixels."""

MOST_OBLONG = 2.0
"""Ratio of the sides of the most oblong canvas."""


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """A canvas, and how large the smallest objects are on it."""

    height: int
    width: int
    smallest_side: float
    """Median box side (the root of its area) of the class with the smallest boxes, in pixels; 0 without boxes."""

    def __post_init__(self) -> None:
        """Checks the size of the boxes."""
        if not 0 <= self.smallest_side < float("inf"):
            raise ValueError(f"smallest_side must be a finite number of at least 0. Received {self.smallest_side}.")

    def __str__(self) -> str:
        """Returns the value of --image_size."""
        return str(self.width) if self.width == self.height else f"{self.width}x{self.height}"


def fit_canvas(image_sizes: np.ndarray, side: int, *, resize: str) -> tuple[int, int]:
    """Returns height and width of the canvas of at most side² pixels on which images are largest.

    Letterboxed on a square, images of 4:3 leave a quarter of it empty. The square
    remains if images gain less than `WORTH` in side, in their geometric mean, and
    for stretched images, which leave nothing empty.

    Args:
      image_sizes: (n, 2), height and width in pixels.
      side: of the square, in pixels.
      resize: letterbox or stretch.
    """
    square = (side, side)
    image_sizes = image_sizes[(image_sizes > 0).all(axis=1)]
    if resize == "stretch" or not len(image_sizes):
        return square
    sizes, counts = np.unique(image_sizes, axis=0, return_counts=True)
    multiples = range(MULTIPLE, 2 * side, MULTIPLE)
    candidates = [(height, side**2 // height // MULTIPLE * MULTIPLE) for height in multiples]
    allowed = [each for each in candidates if 0 < max(each) <= MOST_OBLONG * min(each)]

    def mean_log_scale(canvas: tuple[int, int]) -> float:
        return float(np.average(np.log(canvas_scales(sizes, canvas, resize=resize)[:, 0]), weights=counts))

    best = max(allowed, key=mean_log_scale)
    return best if mean_log_scale(best) - mean_log_scale(square) >= np.log(WORTH) else square
