"""SimOTA: assignment by the cost of predictions. Ge et al. 2021, "YOLOX: Exceeding YOLO Series in 2021"."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Bool, Float
from keras import ops

from efficientdet import boxes as box_math
from efficientdet.label_assignment.assignment import Assignment, Objects, Predicted, Priors, best_claims
from efficientdet.types import Tensor

_OUTSIDE = 1e5
"""Added cost of a prior that is not both in the box and near its center."""
_NEVER = 1e9
_EPSILON = 1e-8


@dataclass(frozen=True, kw_only=True)
class SimOtaAssigner:
    """Matches each object to the priors of lowest cost; their number is the sum of its largest IoUs.

    Cost: binary cross-entropy of the scores + `iou_weight` * -ln(IoU), plus
    100,000 if the prior's center is not both in the box and within
    `center_radius` strides of its center. The quality is the IoU.
    """

    center_radius: float = 2.5
    candidate_topk: int = 10
    iou_weight: float = 3.0
    cls_weight: float = 1.0
    needs_predictions: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.candidate_topk < 1 or self.center_radius <= 0:
            raise ValueError(
                "candidate_topk must be 1 or more and center_radius above 0. "
                f"Received {self.candidate_topk} and {self.center_radius}."
            )

    def __call__(self, priors: Priors, objects: Objects, predicted: Predicted | None = None) -> Assignment:
        """Returns the assignment of one image."""
        if predicted is None:
            raise ValueError("sim_ota needs the head's predictions. Received none.")
        in_box, near = self._places(priors, objects)
        is_candidate = ops.logical_and(ops.any(ops.logical_or(in_box, near), axis=0)[None], objects.is_object[:, None])
        overlap = ops.where(is_candidate, box_math.iou(objects.boxes[:, None], predicted.boxes[None]), 0.0)
        cost = self.cls_weight * _class_cost(predicted.scores, objects)
        cost = cost - self.iou_weight * ops.log(overlap + _EPSILON)
        cost = cost + ops.where(ops.logical_and(in_box, near), 0.0, _OUTSIDE)
        cost = ops.where(is_candidate, cost, _NEVER)

        count = min(self.candidate_topk, len(priors.boxes))
        enough = ops.sum(ops.top_k(overlap, count)[0], axis=1)
        wanted = ops.maximum(ops.cast(enough, "int32"), 1)
        negated, prior = ops.top_k(-cost, count)
        is_claimed = ops.logical_and(ops.arange(count, dtype="int32")[None] < wanted[:, None], negated > -_NEVER / 2)
        row, _ = best_claims(ops.cast(prior, "int32"), 1.0 / (1.0 - negated), is_claimed, len(priors.boxes))
        own = ops.take_along_axis(overlap, ops.maximum(row, 0)[None], axis=0)[0]
        return Assignment(row, ops.where(row >= 0, own, 0.0))

    def _places(self, priors: Priors, objects: Objects) -> tuple[Bool[Tensor, "n a"], Bool[Tensor, "n a"]]:
        """Returns which prior centers are inside each box, and which are near its center."""
        centers = ops.convert_to_tensor(priors.centers)[None]
        boxes = objects.boxes[:, None]
        in_box = ops.logical_and(ops.all(centers > boxes[..., :2], axis=-1), ops.all(centers < boxes[..., 2:], axis=-1))
        distance = ops.abs(centers - (boxes[..., :2] + boxes[..., 2:]) / 2)
        radius = self.center_radius * ops.convert_to_tensor(priors.strides)[None, :, None]
        return in_box, ops.all(distance < radius, axis=-1)


def _class_cost(scores: Float[Tensor, "a k"], objects: Objects) -> Float[Tensor, "n a"]:
    """Returns the binary cross-entropy of each prior's scores with the class of each object."""
    scores = ops.clip(scores, 1e-7, 1.0 - 1e-7)
    negative = -ops.log(1.0 - scores)
    own = ops.transpose(-ops.log(scores) - negative)
    return ops.take(own, objects.class_index, axis=0) + ops.sum(negative, axis=1)[None]
