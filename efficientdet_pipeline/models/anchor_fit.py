"""Anchor recall of boxes, and anchors fitted to them, in NumPy. n: boxes, s: anchor shapes.

No anchor grid is built. For a fixed shape the IoU decreases with the distance
of the centres, in each direction separately, so the nearest grid position is the
best: a few numbers per box and shape instead of 49,104 anchors.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from efficientdet_pipeline.options.hparams import hparam_text

if TYPE_CHECKING:
    from efficientdet.any_detector import AnyDetectorConfig

MATCHED = 0.5
"""IoU from which an anchor matches a box, as in automl's matcher."""
_SCALES = 2.0 ** (np.arange(-4, 25) / 8)  # Anchor sides of 0.7 to 8 strides.
_ROUNDS = 3
_CHUNK = 200_000
_MOST_BOXES = 5_000


@dataclass(frozen=True, kw_only=True)
class AnchorGrid:
    """Anchor grid of a network, with automl's names."""

    image_size: tuple[int, int]
    """Height and width of the canvas."""
    min_level: int
    max_level: int
    num_scales: int
    aspect_ratios: tuple[float | tuple[float, float], ...]
    """Width over height, or (width, height) factors."""
    anchor_scale: tuple[float, ...]
    """Anchor side in strides, one per level."""

    @classmethod
    def of(cls, config: "AnyDetectorConfig") -> "AnchorGrid":
        """Returns the grid of a network; of a detector built from parts automl's anchors on its canvas and levels."""
        from efficientdet.config import DetectorConfig, get_config

        if not isinstance(config, DetectorConfig):
            low, high = config.levels[0], config.levels[-1]
            return replace(
                cls.of(get_config()),
                image_size=config.image_size,
                min_level=low,
                max_level=high,
                anchor_scale=(4.0,) * len(config.levels),
            )
        num_levels = config.max_level - config.min_level + 1
        scale = config.anchor_scale
        return cls(
            image_size=config.image_size,
            min_level=config.min_level,
            max_level=config.max_level,
            num_scales=config.num_scales,
            aspect_ratios=config.aspect_ratios,
            anchor_scale=(float(scale),) * num_levels if isinstance(scale, int | float) else tuple(scale),
        )


def canvas_scales(image_sizes: np.ndarray, canvas: tuple[int, int], *, resize: str) -> np.ndarray:
    """Returns (n, 2): canvas pixels per image pixel, vertically and horizontally, of images of these sizes.

    Args:
      image_sizes: (n, 2), height and width in pixels.
      canvas: height and width in pixels.
      resize: letterbox, which keeps proportions, or stretch.
    """
    factors = np.asarray(canvas, float) / np.maximum(image_sizes, 1.0)
    if resize == "stretch":
        return factors
    return np.repeat(np.min(factors, axis=1, initial=np.inf, keepdims=True), 2, axis=1)


def best_overlaps(grid: AnchorGrid, boxes: np.ndarray) -> np.ndarray:
    """Returns (n,): the IoU of each box (n, 4), in canvas pixels, with its best anchor of the grid."""
    chunks = [_best_overlaps(grid, boxes[first : first + _CHUNK]) for first in range(0, len(boxes), _CHUNK)]
    return np.concatenate(chunks) if chunks else np.zeros(0)


def best_shape_overlaps(grid: AnchorGrid, boxes: np.ndarray) -> np.ndarray:
    """Returns (n,): the IoU with the best anchor shape at the box's own centre, an upper bound for any grid."""
    sides = boxes[:, 2:] - boxes[:, :2]
    best = np.zeros(len(boxes))
    for level, stride in _strides(grid).items():
        for shape in _shapes(grid, level):
            best = np.maximum(best, _iou(np.minimum(sides, shape * stride), sides, shape * stride))
    return best


def recall(grid: AnchorGrid, boxes: np.ndarray) -> float:
    """Returns the share of the boxes that have an IoU of at least `MATCHED` with an anchor of the grid."""
    return float(np.mean(best_overlaps(grid, boxes) >= MATCHED))


def fit_anchors(grid: AnchorGrid, boxes: np.ndarray, weights: np.ndarray) -> AnchorGrid:
    """Returns the grid with fitted anchor_scale and aspect_ratios.

    The number of anchors is kept, so that pretrained heads still fit. In turns,
    the ratios are set to cluster centres of the boxes' ratios (k-means of their
    logarithms), and one scale for all levels is searched in steps of an eighth of
    an octave. Deterministic.

    Args:
      grid: the network's.
      boxes: (n, 4) in canvas pixels, each with an area.
      weights: (n,) weight of each box; see `class_weights`.
    """
    step = max(1, -(-len(boxes) // _MOST_BOXES))
    boxes, weights = boxes[::step], weights[::step]
    sides = boxes[:, 2:] - boxes[:, :2]
    fitted = _rounded(_centers(np.log(sides[:, 1] / sides[:, 0]), weights, len(grid.aspect_ratios)))
    best, score = grid, _score(grid, boxes, weights)
    for ratios in dict.fromkeys((grid.aspect_ratios, fitted)):
        for scale in _SCALES:
            candidate = _with(grid, ratios, float(scale))
            new_score = _score(candidate, boxes, weights)
            if new_score > score + 1e-9:
                best, score = candidate, new_score
    return _refined(best, boxes, weights, score)


def class_weights(name: np.ndarray) -> np.ndarray:
    """Returns (n,) weights by which a class counts as the square root of its number of boxes.

    With equal weights per class, a class of two boxes would decide; per box, one of 4,000 boxes.
    """
    counts = np.bincount(name)
    return 1.0 / np.sqrt(counts[name]) if len(name) else np.zeros(0)


def as_hparams(new: AnchorGrid, old: AnchorGrid) -> str:
    """Returns the changed values of a fitted grid, in the format of --hparams."""
    pairs = []
    if new.anchor_scale != old.anchor_scale:
        pairs.append(f"anchor_scale={hparam_text(new.anchor_scale[0])}")
    if new.aspect_ratios != old.aspect_ratios:
        pairs.append(f"aspect_ratios={hparam_text(new.aspect_ratios)}")
    return ",".join(pairs)


def _refined(grid: AnchorGrid, boxes: np.ndarray, weights: np.ndarray, score: float) -> AnchorGrid:
    """Changes one ratio, or the scale, at a time, while the score improves."""
    for _ in range(_ROUNDS):
        before = score
        for index, factor in itertools.product(range(len(grid.aspect_ratios) + 1), (0.8, 0.9, 1.1, 1.25)):
            ratios, scale = [_ratio(aspect) for aspect in grid.aspect_ratios], grid.anchor_scale[0]
            if index < len(ratios):
                ratios[index] *= factor
                candidate = _with(grid, _rounded(ratios), scale)
            else:
                candidate = _with(grid, grid.aspect_ratios, scale * factor)
            new_score = _score(candidate, boxes, weights)
            if new_score > score + 1e-4:
                grid, score = candidate, new_score
        if score == before:
            break
    return grid


def _with(grid: AnchorGrid, ratios: Sequence[float | tuple[float, float]], scale: float) -> AnchorGrid:
    return replace(grid, aspect_ratios=tuple(ratios), anchor_scale=(round(scale, 2),) * len(grid.anchor_scale))


def _score(grid: AnchorGrid, boxes: np.ndarray, weights: np.ndarray) -> float:
    """Returns the mean of recall and mean IoU: recall alone does not measure how near a miss is."""
    overlaps = best_overlaps(grid, boxes)
    return float(np.average((overlaps >= MATCHED) + overlaps, weights=weights)) / 2


def _centers(values: np.ndarray, weights: np.ndarray, count: int) -> list[float]:
    """Returns the centres of `count` clusters of weighted numbers (Lloyd's k-means, initialized at quantiles)."""
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weights[order]) / np.sum(weights)
    wanted = (np.arange(count) + 0.5) / count
    centers = values[order][np.minimum(np.searchsorted(share, wanted), len(values) - 1)]
    for _ in range(30):
        nearest = np.argmin(np.abs(values[:, None] - centers), axis=1)
        mass = np.bincount(nearest, weights, count)
        moved = np.where(mass > 0, np.bincount(nearest, weights * values, count) / np.maximum(mass, 1e-12), centers)
        if np.allclose(moved, centers):
            break
        centers = moved
    return sorted(np.exp(np.clip(centers, np.log(0.05), np.log(20.0))).tolist())


def _rounded(ratios: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(f"{ratio:.2g}") for ratio in ratios)


def _best_overlaps(grid: AnchorGrid, boxes: np.ndarray) -> np.ndarray:
    sides, centers = boxes[:, 2:] - boxes[:, :2], (boxes[:, 2:] + boxes[:, :2]) / 2
    best = np.zeros(len(boxes))
    for level, stride in _strides(grid).items():
        last = np.rint(np.asarray(grid.image_size) / stride) - 1
        cells = np.clip(np.floor(centers / stride), 0, last)
        distance = np.abs(centers - (cells + 0.5) * stride)
        for shape in _shapes(grid, level):
            anchor = shape * stride
            intersection = np.minimum(np.minimum(sides, anchor), np.maximum((sides + anchor) / 2 - distance, 0.0))
            best = np.maximum(best, _iou(intersection, sides, anchor))
    return best


def _iou(intersection: np.ndarray, sides: np.ndarray, anchor: np.ndarray) -> np.ndarray:
    area = intersection[:, 0] * intersection[:, 1]
    return area / np.maximum(sides[:, 0] * sides[:, 1] + anchor[0] * anchor[1] - area, 1e-12)


def _strides(grid: AnchorGrid) -> dict[int, np.ndarray]:
    """Returns {level: (height, width) of a cell in canvas pixels}; each level halves the one below, rounded up."""
    sides, strides = np.asarray(grid.image_size), {}
    for level in range(grid.max_level + 1):
        if level >= grid.min_level:
            strides[level] = np.asarray(grid.image_size) / sides
        sides = (sides - 1) // 2 + 1
    return strides


def _shapes(grid: AnchorGrid, level: int) -> list[np.ndarray]:
    """Returns the heights and widths of a level's anchors, in strides."""
    scale = grid.anchor_scale[level - grid.min_level]
    return [
        scale * 2 ** (octave / grid.num_scales) * _height_and_width(aspect)
        for octave, aspect in itertools.product(range(grid.num_scales), grid.aspect_ratios)
    ]


def _height_and_width(aspect: float | Sequence[float]) -> np.ndarray:
    if isinstance(aspect, int | float):
        return np.array([aspect**-0.5, aspect**0.5])
    return np.array([aspect[1], aspect[0]])


def _ratio(aspect: float | Sequence[float]) -> float:
    height, width = _height_and_width(aspect)
    return float(width / height)
