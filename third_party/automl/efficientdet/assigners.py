"""Which anchor should answer for which object: label assignment, on the device.

Anchors are matched inside the training step, so that the host hands over an
image and a few boxes instead of a target for each of 49,104 anchors.
"""

from jaxtyping import Bool, Float, Int
from keras import ops

from efficientdet import boxes as box_math
from efficientdet.types import BACKGROUND, IGNORED, GroundTruth, Targets, Tensor

FORCED = 2.0
"""Stands above every overlap: an object's best anchor belongs to it, however little they overlap."""


def assign_targets(
    anchors: Float[Tensor, "a 4"],
    ground_truth: GroundTruth,
    *,
    matched_threshold: float = 0.5,
    unmatched_threshold: float | None = None,
) -> Targets:
    """Returns what each anchor of each image of a batch should answer.

    An anchor belongs to the object that it overlaps most, if that is by at
    least `matched_threshold`; each object besides gets the anchor that it
    overlaps most. Ties go to the lower row and the lower anchor. An object
    that overlaps nothing gets anchor 0, as in automl.

    Args:
      anchors: from `anchors.anchor_boxes`.
      ground_truth: boxes in canvas pixels. Rows with a class id below 1 are
        padding; they may stand anywhere.
      matched_threshold: the overlap (IoU) from which an anchor sees an object.
      unmatched_threshold: below it an anchor sees background, between the two
        it is ignored. None: the same as `matched_threshold`, as in automl.
    """
    anchors = ops.convert_to_tensor(anchors, "float32")
    # One row of padding more, so that a batch without any row has something to gather from.
    boxes = ops.pad(ops.cast(ground_truth.boxes, "float32"), ((0, 0), (0, 1), (0, 0)))
    class_ids = ops.pad(ops.cast(ground_truth.class_ids, "int32"), ((0, 0), (0, 1)))
    overlap, row = _best_rows(anchors, boxes, class_ids > 0)

    is_positive = overlap >= matched_threshold
    class_index = ops.where(is_positive, _rows_of(class_ids, row) - 1, BACKGROUND)
    if unmatched_threshold is not None:
        is_between = ops.logical_and(overlap >= unmatched_threshold, ops.logical_not(is_positive))
        class_index = ops.where(is_between, IGNORED, class_index)
    # Logarithms are taken of n boxes rather than of their copies at all anchors, and zeros are multiplied in rather
    # than chosen: on a CPU this halves the time outside the loop.
    deltas = box_math.relative_to_anchors(_rows_of(box_math.log_centers(boxes), row), anchors)
    positive = ops.cast(is_positive, "float32")
    return Targets(
        class_index=class_index,
        boxes=deltas * positive[..., None],
        num_positives=ops.sum(positive, axis=-1),
    )


def _best_rows(
    anchors: Float[Tensor, "a 4"], boxes: Float[Tensor, "b n 4"], is_object: Bool[Tensor, "b n"]
) -> tuple[Float[Tensor, "b a"], Int[Tensor, "b a"]]:
    """Returns each anchor's best overlap and the row of the box that has it.

    One row of boxes after the other meets all anchors. A table of all overlaps
    would need b * n * a floats (157 MB at 512 px) several times over, most of
    them for padding; here the loop ends behind the last object of the batch,
    also under XLA, where shapes cannot depend on data.
    """
    num_images, num_rows = ops.shape(boxes)[:2]
    num_anchors = ops.shape(anchors)[0]
    anchor_index = ops.arange(num_anchors, dtype="int32")
    last_row = ops.max(ops.where(is_object, ops.arange(1, num_rows + 1, dtype="int32"), 0))
    boxes = ops.where(is_object[..., None], boxes, 0.0)

    def meet(index: Tensor, best: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        best_overlap, best_row = best
        overlap = box_math.iou(ops.take(boxes, index, axis=1)[:, None], anchors)
        # automl: among equal overlaps the lowest anchor index wins; published targets depend on it.
        favourite = ops.cast(ops.argmax(overlap, axis=-1), "int32")
        favourite = ops.where(ops.take(is_object, index, axis=1), favourite, -1)
        overlap = ops.where(anchor_index == favourite[:, None], FORCED, overlap)
        # "Greater", not "at least": an earlier row keeps what it has, a forced anchor too.
        is_better = overlap > best_overlap
        return ops.maximum(overlap, best_overlap), ops.where(is_better, index, best_row)

    none = ops.zeros((num_images, num_anchors), "float32"), ops.zeros((num_images, num_anchors), "int32")
    return ops.fori_loop(0, last_row, meet, none)


def _rows_of(values: Tensor, row: Int[Tensor, "b a"]) -> Tensor:
    """Returns `values[image, row]` for (b, n) or (b, n, c) values."""
    num_images, num_rows = ops.shape(values)[:2]
    first_row = ops.arange(num_images, dtype="int32")[:, None] * num_rows
    return ops.take(ops.reshape(values, (-1, *values.shape[2:])), row + first_row, axis=0)
