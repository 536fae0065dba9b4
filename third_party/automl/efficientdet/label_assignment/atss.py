"""ATSS assignment. Zhang et al. 2020, "Bridging the Gap Between Anchor-based and Anchor-free"."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from keras import ops

from efficientdet import boxes as box_math
from efficientdet.label_assignment.assignment import Assignment, Objects, Predicted, Priors, best_claims
from efficientdet.types import Tensor


@dataclass(frozen=True, kw_only=True)
class AtssAssigner:
    """Matches an object to those of its nearest priors on each level whose IoU exceeds their mean plus deviation.

    The centers of matched priors lie inside the object. A prior that matches
    several objects gets the one with the largest IoU.
    """

    topk: int = 9
    """Candidates per object and level."""
    needs_predictions: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.topk < 1:
            raise ValueError(f"topk must be 1 or more. Received {self.topk}.")

    def __call__(self, priors: Priors, objects: Objects, predicted: Predicted | None = None) -> Assignment:
        """Returns the assignment of one image."""
        centers = (objects.boxes[:, :2] + objects.boxes[:, 2:]) / 2
        chosen, start = [], 0
        for count in priors.per_level:
            level_centers = priors.centers[start : start + count]
            distance = _squared_distance(centers, level_centers)
            chosen.append(ops.top_k(-distance, min(self.topk, count))[1] + start)
            start += count
        prior = ops.cast(ops.concatenate(chosen, axis=1), "int32")
        boxes = ops.take(ops.convert_to_tensor(priors.boxes), prior, axis=0)
        overlap = box_math.iou(objects.boxes[:, None], boxes)
        threshold = ops.mean(overlap, axis=1) + _sample_deviation(overlap)
        middle = (boxes[..., :2] + boxes[..., 2:]) / 2
        is_inside = ops.logical_and(
            ops.all(middle > objects.boxes[:, None, :2], axis=-1), ops.all(middle < objects.boxes[:, None, 2:], axis=-1)
        )
        is_claimed = ops.logical_and(overlap >= threshold[:, None], is_inside)
        is_claimed = ops.logical_and(is_claimed, objects.is_object[:, None])
        return Assignment(*best_claims(prior, overlap, is_claimed, len(priors.boxes)))


def _squared_distance(points: Tensor, others: np.ndarray) -> Tensor:
    return ops.sum(ops.square(points[:, None] - ops.convert_to_tensor(others)), axis=-1)


def _sample_deviation(values: Tensor) -> Tensor:
    """Returns the sample standard deviation of each row (divisor n - 1, as in the original)."""
    count = values.shape[1]
    spread = ops.sum(ops.square(values - ops.mean(values, axis=1, keepdims=True)), axis=1)
    return ops.sqrt(spread / max(count - 1, 1))
