"""Anchor boxes of all pyramid levels, in numpy.

Anchors are constants of a network, so computing them needs no backend.
"""

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    from efficientdet.config import DetectorConfig


def feature_sizes(config: "DetectorConfig") -> dict[int, tuple[int, int]]:
    """Returns (height, width) of the feature map of each level of the pyramid."""
    return pyramid_sizes(config.image_size, config.min_level, config.max_level)


def anchor_boxes(config: "DetectorConfig") -> Float[np.ndarray, "a 4"]:
    """Returns all anchors of the network in canvas pixels, float32.

    Order, as in the heads' outputs: level, row, column, octave, aspect ratio.
    Anchors may extend beyond the canvas; they are not clipped.

    Raises:
      ValueError: `config.anchor_scale` is a list whose length differs from the
        number of levels.
    """
    return anchor_grid(
        feature_sizes(config),
        config.image_size,
        num_scales=config.num_scales,
        aspect_ratios=config.aspect_ratios,
        anchor_scale=config.anchor_scale,
    )


def pyramid_sizes(image_size: tuple[int, int], min_level: int, max_level: int) -> dict[int, tuple[int, int]]:
    """Returns {level: (height, width)}; each level has half the size of the level below, rounded up.

    >>> pyramid_sizes((320, 512), 3, 7)
    {3: (40, 64), 4: (20, 32), 5: (10, 16), 6: (5, 8), 7: (3, 4)}
    """
    height, width = image_size
    sizes = {}
    for level in range(max_level + 1):
        if level >= min_level:
            sizes[level] = (height, width)
        height, width = (height - 1) // 2 + 1, (width - 1) // 2 + 1
    return sizes


def anchor_grid(
    sizes: dict[int, tuple[int, int]],
    image_size: tuple[int, int],
    *,
    num_scales: int,
    aspect_ratios: Sequence[float | Sequence[float]],
    anchor_scale: float | Sequence[float],
) -> Float[np.ndarray, "a 4"]:
    """Returns the anchors of feature maps of the given sizes.

    Args:
      sizes: {level: (height, width)}, from `pyramid_sizes`.
      image_size: height and width of the canvas in pixels.
      num_scales: anchor sizes per octave.
      aspect_ratios: width divided by height, or (width, height) factors.
      anchor_scale: side of a square anchor in strides: one for all levels, or
        one for each.
    """
    scales = [anchor_scale] * len(sizes) if isinstance(anchor_scale, int | float) else list(anchor_scale)
    if len(scales) != len(sizes):
        raise ValueError(
            f"anchor_scale must be one number, or one for each of the {len(sizes)} levels {sorted(sizes)}. "
            f"Received {len(scales)} values: {scales}."
        )
    shapes = [
        2 ** (octave / num_scales) * np.array(_height_and_width(aspect))
        for octave, aspect in itertools.product(range(num_scales), aspect_ratios)
    ]
    levels = [
        _level_anchors(sizes[level], image_size, scale * np.array(shapes))
        for level, scale in zip(sorted(sizes), scales, strict=True)
    ]
    return np.concatenate(levels).astype(np.float32)


def _height_and_width(aspect: float | Sequence[float]) -> tuple[float, float]:
    if isinstance(aspect, int | float):
        return 1 / math.sqrt(aspect), math.sqrt(aspect)
    width, height = aspect
    return height, width


def _level_anchors(
    size: tuple[int, int], image_size: tuple[int, int], shapes: Float[np.ndarray, "s 2"]
) -> Float[np.ndarray, "a 4"]:
    """Returns the anchors of one level; `shapes` are heights and widths in strides."""
    # Not rounded: an input of 320 px has 3 cells on level 7, which are 106.67 px apart, not 2^7.
    stride = np.divide(image_size, size)
    rows, columns = ((np.arange(count) + 0.5) * step for count, step in zip(size, stride, strict=True))
    centers = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)[:, :, None, :]
    half = shapes * stride / 2
    return np.concatenate([centers - half, centers + half], axis=-1).reshape(-1, 4)
