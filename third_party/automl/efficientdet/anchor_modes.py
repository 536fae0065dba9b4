"""Anchor modes of detectors: the priors of each mode and their number.

efficientdet: nine anchors per cell. anchor_free (YOLOX): one prior, at the
corner of the cell. yolor (YOLOR, YOLOv7): three anchors of preset sizes per
cell. yolov8: one prior, at the center of the cell. In numpy.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from efficientdet.anchors import anchor_grid, pyramid_sizes
from efficientdet.automl.hparams import unknown_name

Size = tuple[int, int]


class AnchorMode(NamedTuple):
    """Predictions per cell of one mode."""

    per_cell: int
    """Number of priors."""
    has_object_score: bool


MODES: dict[str, AnchorMode] = {
    "efficientdet": AnchorMode(9, has_object_score=False),
    "anchor_free": AnchorMode(1, has_object_score=True),
    "yolor": AnchorMode(3, has_object_score=True),
    "yolov8": AnchorMode(1, has_object_score=False),
}

# (height, width) in pixels of the three anchors of each level.
YOLOR_ANCHORS: dict[tuple[int, int], tuple[tuple[Size, Size, Size], ...]] = {
    (3, 5): (
        ((16, 12), (36, 19), (28, 40)),
        ((75, 36), (55, 76), (146, 72)),
        ((110, 142), (243, 192), (401, 459)),
    ),
    (3, 6): (
        ((27, 19), (40, 44), (94, 38)),
        ((68, 96), (152, 86), (137, 180)),
        ((301, 140), (264, 303), (542, 238)),
        ((615, 436), (380, 739), (792, 925)),
    ),
    (3, 7): (
        ((17, 13), (25, 22), (66, 27)),
        ((88, 57), (69, 112), (177, 69)),
        ((138, 136), (114, 287), (275, 134)),
        ((248, 268), (504, 232), (416, 445)),
        ((393, 812), (808, 477), (908, 1070)),
    ),
}
"""(lowest level, highest level) → YOLOR's anchors."""


def mode_priors(
    mode: str,
    image_size: Size,
    levels: Sequence[int],
    *,
    anchor_scale: float = 4.0,
    aspect_ratios: Sequence[float | tuple[float, float]] = (1.0, 2.0, 0.5),
    num_scales: int = 3,
) -> Float[np.ndarray, "a 4"]:
    """Returns the priors of all levels, y0 x0 y1 x1 in pixels, in the order level, row, column, anchor.

    Args:
      mode: one of `MODES`.
      image_size: (height, width) in pixels. Where it is not divisible by 2^level,
        strides are image size divided by map size, not powers of 2.
      levels: levels of the pyramid.
      anchor_scale: side of a square anchor in strides. Only mode efficientdet
        reads this and the following arguments.
      aspect_ratios: width divided by height, or (width, height) factors.
      num_scales: anchor sizes per octave.

    Raises:
      ValueError: the mode is unknown, or yolor has no preset anchors for these levels.

    >>> len(mode_priors("efficientdet", (512, 512), range(3, 8)))
    49104
    """
    if mode not in MODES:
        raise ValueError(unknown_name("anchor mode", mode, MODES))
    sizes = pyramid_sizes(image_size, levels[0], levels[-1])
    if mode == "efficientdet":
        return anchor_grid(
            sizes, image_size, num_scales=num_scales, aspect_ratios=aspect_ratios, anchor_scale=anchor_scale
        )
    strides = {level: np.divide(image_size, size) for level, size in sizes.items()}
    offset = 0.0 if mode == "anchor_free" else 0.5
    shapes: dict[int, np.ndarray]
    if mode == "yolor":
        shapes = {
            level: np.asarray(pixels, np.float64) for level, pixels in zip(sizes, yolor_anchors(levels), strict=True)
        }
    else:
        shapes = {level: strides[level][None] for level in sizes}
    return np.concatenate(
        [cell_boxes(size, strides[level], shapes[level], offset=offset) for level, size in sizes.items()]
    )


def cell_boxes(
    size: Size, stride: Float[np.ndarray, "2"], shapes: Float[np.ndarray, "s 2"], *, offset: float
) -> Float[np.ndarray, "a 4"]:
    """Returns boxes of the given heights and widths at every cell.

    Args:
      size: (height, width) of the feature map.
      stride: pixels between cells, vertically and horizontally.
      shapes: height and width of each box of a cell, in pixels.
      offset: distance of a box's center from the corner of its cell, in strides.
    """
    rows, columns = ((np.arange(count) + offset) * step for count, step in zip(size, stride, strict=True))
    centers = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 1, 2)
    half = np.asarray(shapes) / 2
    return np.concatenate([centers - half, centers + half], axis=-1).reshape(-1, 4).astype(np.float32)


def yolor_anchors(levels: Sequence[int]) -> tuple[tuple[Size, Size, Size], ...]:
    """Returns (height, width) of YOLOR's three anchors of each level.

    Raises:
      ValueError: there are no preset anchors for these levels.
    """
    key = (levels[0], levels[-1])
    if key not in YOLOR_ANCHORS:
        known = ", ".join(f"{low} to {high}" for low, high in YOLOR_ANCHORS)
        raise ValueError(f"Mode yolor has preset anchors for levels {known}. Received levels {key[0]} to {key[1]}.")
    return YOLOR_ANCHORS[key]


def mode_of_number(
    num_priors: int, image_size: Size, *, min_level: int = 3, regression_len: int = 4
) -> tuple[str, int]:
    """Returns the mode and the highest level that give this number of priors.

    Args:
      num_priors: total number of priors of one image.
      image_size: (height, width) in pixels.
      min_level: lowest level.
      regression_len: numbers that encode one box: 4, or 64 for yolov8.

    Raises:
      ValueError: no mode gives this number of priors.
    """
    for per_cell, mode in ((9, "efficientdet"), (3, "yolor"), (1, "anchor_free" if regression_len == 4 else "yolov8")):
        total = 0
        for level in range(min_level, 13):
            height, width = pyramid_sizes(image_size, level, level)[level]
            total += per_cell * height * width
            if total == num_priors and level > min_level:
                return mode, level
    raise ValueError(
        f"No anchor mode gives {num_priors} priors at {image_size[0]}x{image_size[1]} pixels from level {min_level} up."
    )
