"""Values of masks that interpolation made: those that lie on edges, between a lower and a higher value."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

_LEAST_SHARE = 0.9
_LEAST_PIXELS = 20
_LEAST_VALUES = 3
_LEAST_RANGE = 50


class EdgeCounts(NamedTuple):
    """How often each value of masks occurs."""

    pixels: np.ndarray
    """(256,) pixels with the value."""
    between: np.ndarray
    """(256,) of them, those that have a lower and a higher value among their eight neighbors."""

    @property
    def interpolated(self) -> list[int]:
        """Returns the values that hardly occur but between a lower and a higher one.

        The ids of classes do not: an area has pixels that see their own value
        alone, and a line is of this kind only where it divides a lower and a
        higher id.
        """
        found = (self.pixels >= _LEAST_PIXELS) & (self.between >= _LEAST_SHARE * self.pixels)
        return [int(value) for value in np.flatnonzero(found)]

    @property
    def is_smoothed(self) -> bool:
        """Returns whether the masks are of two values with smooth edges, which have many values in between."""
        inner = np.flatnonzero(self.pixels[1:255]) + 1
        if len(inner) < _LEAST_VALUES or inner[-1] - inner[0] < _LEAST_RANGE:
            return False
        return bool(self.between[inner].sum() > self.pixels[inner].sum() / 2)


def edge_counts(maps: Iterable[np.ndarray]) -> EdgeCounts:
    """Returns how often each value occurs, and how often between a lower and a higher one.

    Args:
      maps: masks (h, w), uint8.

    >>> smooth = np.tile(np.array([0, 0, 60, 180, 255, 255], np.uint8), (20, 1))
    >>> edge_counts([smooth]).interpolated
    [60, 180]
    """
    pixels, between = np.zeros(256, np.int64), np.zeros(256, np.int64)
    for values in maps:
        padded = np.pad(values, 1, mode="edge")
        height, width = values.shape
        windows = [padded[down : down + height, across : across + width] for down in range(3) for across in range(3)]
        lower, higher = np.minimum.reduce(windows) < values, np.maximum.reduce(windows) > values
        pixels += np.bincount(values.ravel(), minlength=256)
        between += np.bincount(values[lower & higher], minlength=256)
    return EdgeCounts(pixels, between)
