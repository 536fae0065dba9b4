"""Types that describe the images of a training batch, for reports and pictures."""

from typing import NamedTuple, NotRequired, TypedDict

import numpy as np


class BoxSummary(TypedDict):
    """How many boxes an image has, how long their sides are, in pixels, and how many extend beyond the image."""

    count: int
    shortest_side: float
    longest_side: float
    outside: int


class BatchImage(TypedDict):
    """An image of a training batch, as reports name it."""

    image: str
    boxes: BoxSummary
    may_be_mixed_with: NotRequired[list[str]]


class AugmentedImage(NamedTuple):
    """What the network is shown of a sample, before normalization."""

    pixels: np.ndarray
    """uint8 RGB (h, w, 3), the part of the canvas that is not padding."""
    boxes: np.ndarray
    """(n, 4) y0 x0 y1 x1 in canvas pixels."""
    class_ids: np.ndarray
    """(n,)."""
