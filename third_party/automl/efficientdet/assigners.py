"""Matching of anchors to ground-truth boxes (label assignment), on the device.

Anchors are matched inside the training step, so that the input pipeline
transfers an image and a few boxes instead of a target for each of 49,104
anchors.
"""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int
from keras import ops

from efficientdet import boxes as box_math
from efficientdet.anchors import anchor_boxes, feature_sizes
from efficientdet.label_assignment.assignment import Priors, assign_batch, padded_objects
from efficientdet.label_assignment.atss import AtssAssigner
from efficientdet.types import BACKGROUND, IGNORED, GroundTruth, Targets, Tensor

if TYPE_CHECKING:
    from efficientdet.config import DetectorConfig

FORCED = 2.0
"""Greater than any IoU: the best anchor of each object is matched to it, however small their IoU."""


def assign_targets(
    anchors: Float[Tensor, "a 4"],
    ground_truth: GroundTruth,
    *,
    matched_threshold: float = 0.5,
    unmatched_threshold: float | None = None,
) -> Targets:
    """Returns the training targets of all anchors for each image of a batch.

    An anchor is matched to the object with which its IoU is largest, if that is
    at least `matched_threshold`. In addition each object is matched to the
    anchor with which its IoU is largest. Ties go to the lower row and the lower
    anchor. An object that overlaps no anchor gets anchor 0, as in automl.

    Args:
      anchors: from `anchors.anchor_boxes`.
      ground_truth: boxes in canvas pixels. Rows with a class id below 1 are
        padding; their position is arbitrary.
      matched_threshold: lowest IoU of a positive anchor.
      unmatched_threshold: anchors with a lower IoU are background; anchors
        between the two thresholds are ignored. None: the same as
        `matched_threshold`, as in automl.
    """
    anchors = ops.convert_to_tensor(anchors, "float32")
    # One extra padding row, so that a gather from a batch without boxes is valid.
    boxes = ops.pad(ops.cast(ground_truth.boxes, "float32"), ((0, 0), (0, 1), (0, 0)))
    class_ids = ops.pad(ops.cast(ground_truth.class_ids, "int32"), ((0, 0), (0, 1)))
    overlap, row = _best_rows(anchors, boxes, class_ids > 0)

    is_positive = overlap >= matched_threshold
    class_index = ops.where(is_positive, _rows_of(class_ids, row) - 1, BACKGROUND)
    if unmatched_threshold is not None:
        is_between = ops.logical_and(overlap >= unmatched_threshold, ops.logical_not(is_positive))
        class_index = ops.where(is_between, IGNORED, class_index)
    # Logarithms are computed for n boxes instead of their copies at all anchors, and multiplying by zero replaces a
    # `where`: on a CPU this halves the time outside the loop.
    deltas = box_math.relative_to_anchors(_rows_of(box_math.log_centers(boxes), row), anchors)
    positive = ops.cast(is_positive, "float32")
    return Targets(
        class_index=class_index,
        boxes=deltas * positive[..., None],
        num_positives=ops.sum(positive, axis=-1),
    )


def anchor_priors(config: "DetectorConfig") -> Priors:
    """Returns the anchors of a network, level by level."""
    sizes = feature_sizes(config)
    per_level = tuple(height * width * config.num_anchors for height, width in sizes.values())
    strides = np.array([config.image_size[0] / height for height, _ in sizes.values()], np.float32)
    return Priors(anchor_boxes(config), np.repeat(strides, per_level), per_level)


def assign_by_atss(priors: Priors, ground_truth: GroundTruth, *, anchors_per_cell: int, topk: int = 9) -> Targets:
    """Returns the training targets of all anchors by adaptive training sample selection.

    Of each object, the anchors of the `topk` nearest cells of each level are
    candidates. Those whose center is in the object and whose IoU is at least the
    mean of the candidates' plus their standard deviation are positive; there is
    no other threshold, and no anchor is ignored. An object that contains no
    center of an anchor has no positive one. Zhang et al. 2020, "Bridging the Gap
    Between Anchor-based and Anchor-free Detection".

    Args:
      priors: the anchors.
      ground_truth: as for `assign_targets`.
      anchors_per_cell: number of anchors with the same center.
      topk: cells on each level.
    """
    objects = padded_objects(ground_truth)
    row, _ = assign_batch(AtssAssigner(topk=topk * anchors_per_cell), priors, objects)
    is_positive, own = row >= 0, ops.maximum(row, 0)
    deltas = box_math.relative_to_anchors(
        _rows_of(box_math.log_centers(objects.boxes), own), ops.convert_to_tensor(priors.boxes)
    )
    positive = ops.cast(is_positive, "float32")
    return Targets(
        class_index=ops.where(is_positive, _rows_of(objects.class_index, own), BACKGROUND),
        boxes=deltas * positive[..., None],
        num_positives=ops.sum(positive, axis=-1),
    )


def _best_rows(
    anchors: Float[Tensor, "a 4"], boxes: Float[Tensor, "b n 4"], is_object: Bool[Tensor, "b n"]
) -> tuple[Float[Tensor, "b a"], Int[Tensor, "b a"]]:
    """Returns the largest IoU of each anchor and the row of the box that has it.

    Boxes are compared with all anchors row by row. A table of all IoUs would
    need b * n * a floats (157 MB at 512 px) several times over, most of them for
    padding; the loop ends after the last object of the batch, also under XLA,
    where shapes cannot depend on data.
    """
    num_images, num_rows = ops.shape(boxes)[:2]
    num_anchors = ops.shape(anchors)[0]
    anchor_index = ops.arange(num_anchors, dtype="int32")
    last_row = ops.max(ops.where(is_object, ops.arange(1, num_rows + 1, dtype="int32"), 0))
    boxes = ops.where(is_object[..., None], boxes, 0.0)

    def match_row(index: Tensor, best: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        best_overlap, best_row = best
        overlap = box_math.iou(ops.take(boxes, index, axis=1)[:, None], anchors)
        # automl: among equal overlaps the lowest anchor index wins; published targets depend on it.
        best_anchor = ops.cast(ops.argmax(overlap, axis=-1), "int32")
        best_anchor = ops.where(ops.take(is_object, index, axis=1), best_anchor, -1)
        overlap = ops.where(anchor_index == best_anchor[:, None], FORCED, overlap)
        # Strictly greater: an earlier row keeps its anchors, forced ones included.
        is_better = overlap > best_overlap
        return ops.maximum(overlap, best_overlap), ops.where(is_better, index, best_row)

    none = ops.zeros((num_images, num_anchors), "float32"), ops.zeros((num_images, num_anchors), "int32")
    return ops.fori_loop(0, last_row, match_row, none)


def _rows_of(values: Tensor, row: Int[Tensor, "b a"]) -> Tensor:
    """Returns `values[image, row]` for (b, n) or (b, n, c) values."""
    num_images, num_rows = ops.shape(values)[:2]
    first_row = ops.arange(num_images, dtype="int32")[:, None] * num_rows
    return ops.take(ops.reshape(values, (-1, *values.shape[2:])), row + first_row, axis=0)
