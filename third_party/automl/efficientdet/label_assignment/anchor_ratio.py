"""Anchor ratio assignment of YOLOR and YOLOv7: by the shape of anchors, in the cells around an object's center."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from keras import ops

from efficientdet.label_assignment.assignment import Assignment, Objects, Predicted, Priors, best_claims
from efficientdet.types import Tensor

# Cells next to that of the object: (down, right).
_NEIGHBOURS = ((0, 0), (-1, 0), (0, -1), (1, 0), (0, 1))


@dataclass(frozen=True, kw_only=True)
class AnchorRatioAssigner:
    """Matches an object to the anchors with a similar shape, in its cell and up to two neighboring cells.

    An anchor has a similar shape if its sides differ from the object's by at
    most a factor `max_ratio`. Neighbors are the cells whose border is within
    half a cell of the object's center. If several objects match a prior, the
    one with the most similar shape gets it (YOLOR counts the prior once for
    each). The quality is that similarity.
    """

    sizes: Mapping[int, tuple[int, int]]
    """(height, width) of the feature map of each level."""
    strides: Mapping[int, tuple[float, float]]
    """Pixels between cells, vertically and horizontally."""
    shapes: Mapping[int, np.ndarray]
    """(s, 2): heights and widths of the anchors of each level, in pixels."""
    max_ratio: float = 4.0
    needs_predictions: ClassVar[bool] = False

    def __call__(self, priors: Priors, objects: Objects, predicted: Predicted | None = None) -> Assignment:
        """Returns the assignment of one image."""
        center = (objects.boxes[:, :2] + objects.boxes[:, 2:]) / 2
        size = ops.maximum(objects.boxes[:, 2:] - objects.boxes[:, :2], 1e-6)
        claims, start = [], 0
        for level in sorted(self.sizes):
            claims.append(self._of_level(level, start, center, size, objects.is_object))
            start += self.sizes[level][0] * self.sizes[level][1] * len(self.shapes[level])
        prior, score, is_claimed = (ops.concatenate(list(parts), axis=1) for parts in zip(*claims, strict=True))
        return Assignment(*best_claims(prior, score, is_claimed, len(priors.boxes)))

    def _of_level(
        self, level: int, start: int, center: Tensor, size: Tensor, is_object: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns indices of priors, similarities and whether they match, each (n, 5 * s)."""
        height, width = self.sizes[level]
        shapes = ops.convert_to_tensor(np.asarray(self.shapes[level], np.float32))
        ratio = size[:, None] / shapes
        worst = ops.max(ops.maximum(ratio, 1.0 / ratio), axis=-1)
        place = center / ops.convert_to_tensor(np.asarray(self.strides[level], np.float32))
        cell, last = ops.floor(place), ops.convert_to_tensor(np.array([height - 1, width - 1], np.float32))
        cell = ops.clip(cell, 0.0, last)
        inside = place - cell
        num_shapes = len(self.shapes[level])
        priors, scores, claimed = [], [], []
        for down, right in _NEIGHBOURS:
            neighbour = cell + ops.convert_to_tensor(np.array([down, right], np.float32))
            exists = ops.logical_and(ops.all(neighbour >= 0, axis=-1), ops.all(neighbour <= last, axis=-1))
            for step, part in ((down, inside[:, 0]), (right, inside[:, 1])):
                if step:
                    exists = ops.logical_and(exists, part < 0.5 if step < 0 else part > 0.5)
            row, column = (ops.cast(ops.clip(neighbour, 0.0, last)[:, axis], "int32") for axis in (0, 1))
            first = start + (row * width + column) * num_shapes
            priors.append(first[:, None] + ops.arange(num_shapes, dtype="int32"))
            scores.append(1.0 / worst)
            fits = ops.logical_and(worst < self.max_ratio, is_object[:, None])
            claimed.append(ops.logical_and(fits, exists[:, None]))
        return ops.concatenate(priors, axis=1), ops.concatenate(scores, axis=1), ops.concatenate(claimed, axis=1)
