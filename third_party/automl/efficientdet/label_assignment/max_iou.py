"""Max IoU assignment with two thresholds, as in RetinaNet.

Lin et al. 2017, "Focal Loss for Dense Object Detection"; rules and names are mmdet's.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Bool, Float, Int
from keras import ops

from efficientdet import boxes as box_math
from efficientdet.label_assignment.assignment import Assignment, Objects, Predicted, Priors
from efficientdet.types import BACKGROUND, IGNORED, Tensor


@dataclass(frozen=True, kw_only=True)
class MaxIouAssigner:
    """Matches each prior to the object of largest IoU, if above a threshold, and each object to its best prior."""

    pos_iou_thr: float = 0.5
    """Lowest IoU of a positive prior."""
    neg_iou_thr: float = 0.4
    """Priors with a lower IoU are background; priors between the thresholds are ignored."""
    min_pos_iou: float = 0.0
    """Lowest IoU of the match between an object and its best prior."""
    force_match_for_each_row: bool = True
    """Whether each object is matched to its best prior."""
    iou_calculator: str = "iousimilarity"
    """Only iousimilarity."""
    needs_predictions: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.neg_iou_thr <= self.pos_iou_thr <= 1:
            raise ValueError(
                "neg_iou_thr must be 0 to pos_iou_thr, and pos_iou_thr at most 1. "
                f"Received neg_iou_thr={self.neg_iou_thr} and pos_iou_thr={self.pos_iou_thr}."
            )
        if self.iou_calculator.lower() != "iousimilarity":
            raise ValueError(f"iou_calculator must be IouSimilarity. Received {self.iou_calculator!r}.")

    def __call__(self, priors: Priors, objects: Objects, predicted: Predicted | None = None) -> Assignment:
        """Returns the assignment of one image."""
        overlap = box_math.pairwise_iou(objects.boxes, ops.convert_to_tensor(priors.boxes))
        row = match_similarity(
            overlap,
            objects.is_object,
            pos_thr=self.pos_iou_thr,
            neg_thr=self.neg_iou_thr,
            min_pos=self.min_pos_iou,
            force=self.force_match_for_each_row,
        )
        own = ops.take_along_axis(overlap, ops.maximum(row, 0)[None], axis=0)[0]
        return Assignment(row, ops.where(row >= 0, own, 0.0))


def match_similarity(
    similarity: Float[Tensor, "n a"],
    is_object: Bool[Tensor, " n"],
    *,
    pos_thr: float,
    neg_thr: float,
    min_pos: float = 0.0,
    force: bool = True,
) -> Int[Tensor, " a"]:
    """Returns for each column the row that it is matched to, BACKGROUND or IGNORED.

    Ties go to the lower row, and within a row to the lower column.

    Args:
      similarity: of each object with each prior.
      is_object: mask of the valid rows.
      pos_thr: lowest similarity with which a column is matched to its best row.
      neg_thr: columns with a lower similarity are BACKGROUND.
      min_pos: lowest similarity with which a row is matched to its best column.
      force: whether rows are matched to their best columns.
    """
    similarity = ops.where(is_object[:, None], similarity, -float("inf"))
    best, row = ops.max(similarity, axis=0), ops.cast(ops.argmax(similarity, axis=0), "int32")
    match = ops.where(best >= pos_thr, row, ops.where(best >= neg_thr, IGNORED, BACKGROUND))
    if not force:
        return match
    takes = ops.logical_and(is_object, ops.max(similarity, axis=1) >= min_pos)
    column = ops.where(takes, ops.cast(ops.argmax(similarity, axis=1), "int32"), -1)
    is_taken = ops.equal(column[:, None], ops.arange(similarity.shape[1], dtype="int32"))
    taken_by = ops.cast(ops.argmax(ops.cast(is_taken, "int32"), axis=0), "int32")
    return ops.where(ops.any(is_taken, axis=0), taken_by, match)
