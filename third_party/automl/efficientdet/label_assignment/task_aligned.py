"""Task-aligned assignment by score and IoU. Feng et al. 2021, "TOOD: Task-aligned One-stage Object Detection"."""

from dataclasses import dataclass
from typing import ClassVar

from keras import ops

from efficientdet import boxes as box_math
from efficientdet.label_assignment.assignment import Assignment, Objects, Predicted, Priors, best_claims

_EPSILON = 1e-9


@dataclass(frozen=True, kw_only=True)
class TaskAlignedAssigner:
    """Matches each object to the `topk` priors inside it with the highest score^alpha * IoU^beta.

    A prior that matches several objects gets the one with the largest IoU. The
    quality is the metric, scaled so that its maximum per object is the object's
    largest IoU.
    """

    topk: int = 10
    alpha: float = 0.5
    beta: float = 6.0
    needs_predictions: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.topk < 1:
            raise ValueError(f"topk must be 1 or more. Received {self.topk}.")

    def __call__(self, priors: Priors, objects: Objects, predicted: Predicted | None = None) -> Assignment:
        """Returns the assignment of one image."""
        if predicted is None:
            raise ValueError("task_aligned needs the head's predictions. Received none.")
        centers, boxes = ops.convert_to_tensor(priors.centers)[None], objects.boxes[:, None]
        is_inside = ops.logical_and(
            ops.all(centers > boxes[..., :2], axis=-1), ops.all(centers < boxes[..., 2:], axis=-1)
        )
        is_inside = ops.logical_and(is_inside, objects.is_object[:, None])
        scores = ops.take(ops.transpose(predicted.scores), objects.class_index, axis=0)
        overlap = ops.where(is_inside, box_math.iou(boxes, predicted.boxes[None]), 0.0)
        metric = ops.power(scores, self.alpha) * ops.power(overlap, self.beta)
        count = min(self.topk, len(priors.boxes))
        best, prior = ops.top_k(ops.where(is_inside, metric, -1.0), count)
        prior = ops.cast(prior, "int32")
        claimed_overlap = ops.take_along_axis(overlap, prior, axis=1)
        # Above 0, so that priors inside an object but without overlap can match in the first steps.
        row, _ = best_claims(prior, claimed_overlap + _EPSILON, best >= 0.0, len(priors.boxes))

        is_own = ops.equal(ops.arange(ops.shape(overlap)[0], dtype="int32")[:, None], row[None])
        own_metric = ops.where(is_own, metric, 0.0)
        best_metric = ops.max(own_metric, axis=1, keepdims=True)
        best_overlap = ops.max(ops.where(is_own, overlap, 0.0), axis=1, keepdims=True)
        quality = ops.sum(own_metric * best_overlap / (best_metric + _EPSILON), axis=0)
        return Assignment(row, ops.where(row >= 0, quality, 0.0))
