"""Types that describe the images of a training batch, for reports and drawings."""

from typing import NamedTuple, NotRequired, TypedDict

import numpy as np


class BoxSummary(TypedDict):
    """Number of boxes of an image, range of their side lengths in pixels, and number of boxes beyond the image."""

    count: int
    shortest_side: float
    longest_side: float
    outside: int


class BatchImage(TypedDict):
    """An image of a training batch, for reports."""

    image: str
    boxes: BoxSummary
    may_be_mixed_with: NotRequired[list[str]]


class AugmentedImage(NamedTuple):
    """An augmented image as the network gets it, before normalization."""

    pixels: np.ndarray
    """uint8 RGB (h, w, 3), the part of the canvas that is not padding."""
    boxes: np.ndarray
    """(n, 4) y0 x0 y1 x1 in canvas pixels."""
    class_ids: np.ndarray
    """(n,)."""
