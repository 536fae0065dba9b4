"""Non-maximum suppression, in TensorFlow.

Hard suppression removes boxes whose IoU with a better box is too large; gaussian
suppression (Bodla et al. 2017, "Soft-NMS") only lowers their scores, depending
on the IoU. Both use TensorFlow's NonMaxSuppressionV5, so graphs with them load
in any TensorFlow. Here `c` is the number of candidates of an image, `d` that of
detections.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import tensorflow as tf
from jaxtyping import Float, Int

from efficientdet.types import Tensor


@dataclass(frozen=True, kw_only=True)
class Suppression:
    """Settings of non-maximum suppression, every default filled in."""

    iou_threshold: float
    """IoU above which the hard method removes the box with the lower score."""
    score_threshold: float
    """Boxes are kept if their score, after it was lowered, is greater."""
    sigma: float
    """Of the gaussian method: scores are multiplied by exp(-IoU^2 / sigma). 0: the hard method."""
    max_outputs: int
    """Detections per image."""


class Kept(NamedTuple):
    """Kept candidates of each image, best first; rows from num_valid on are padding."""

    index: Int[Tensor, "b d"]
    scores: Float[Tensor, "b d"]
    num_valid: Int[Tensor, " b"]


def suppression_from(nms_configs: Mapping[str, Any]) -> Suppression:
    """Returns the settings for automl's hyper-parameter `nms_configs`.

    A threshold of None or 0 means the method's default: no threshold for
    "hard", 0.001 for "gaussian". The gaussian method ignores iou_thresh.

    Raises:
      ValueError: the method is neither "hard" nor "gaussian".
    """
    method = nms_configs.get("method") or "hard"
    score_threshold = nms_configs.get("score_thresh")
    max_outputs = int(nms_configs["max_output_size"])
    if method == "hard":
        return Suppression(
            iou_threshold=nms_configs.get("iou_thresh") or 0.5,
            score_threshold=score_threshold or float("-inf"),
            sigma=0.0,
            max_outputs=max_outputs,
        )
    if method == "gaussian":
        return Suppression(
            iou_threshold=0.5,
            score_threshold=score_threshold or 0.001,
            sigma=nms_configs.get("sigma") or 0.5,
            max_outputs=max_outputs,
        )
    raise ValueError(
        f"nms_configs.method must be hard or gaussian. Received {method!r}; automl has diou and linear only in its "
        "numpy version (pyfunc). Try nms_configs.method=gaussian."
    )


def suppress(boxes: Float[Tensor, "b c 4"], scores: Float[Tensor, "b c"], settings: Suppression) -> Kept:
    """Returns the boxes to keep; boxes of different classes suppress each other."""
    index, kept_scores, num_valid = tf.map_fn(
        lambda image: _suppress_one(image[0], image[1], settings),
        (boxes, scores),
        fn_output_signature=(tf.int32, tf.float32, tf.int32),
    )
    return _shaped(Kept(index, kept_scores, num_valid), settings.max_outputs)


def suppress_per_class(
    boxes: Float[Tensor, "b c 4"],
    scores: Float[Tensor, "b c"],
    class_index: Int[Tensor, "b c"],
    num_classes: int,
    settings: Suppression,
) -> Kept:
    """Returns the boxes to keep; only boxes of the same class suppress each other.

    Args:
      boxes: of all classes, in any order.
      scores: of the boxes.
      class_index: 0-based class of each box.
      num_classes: number of classes.
      settings: `max_outputs` applies to all classes of an image together.
    """
    if num_classes == 1:
        return suppress(boxes, scores, settings)
    num_images, max_outputs = tf.shape(scores)[0], settings.max_outputs
    num_candidates = tf.shape(scores)[1]

    # Sorted by class, so that each (image, class) is one slice of a flat list.
    order = tf.argsort(class_index, axis=-1, stable=True)
    position = tf.reshape(order + tf.range(num_images)[:, tf.newaxis] * num_candidates, [-1])
    flat_boxes, flat_scores = (
        tf.gather(tf.reshape(boxes, [-1, 4]), position),
        tf.gather(tf.reshape(scores, [-1]), position),
    )
    image_and_class = tf.range(num_images)[:, tf.newaxis] * num_classes + tf.gather(class_index, order, batch_dims=1)
    edges = tf.searchsorted(tf.reshape(image_and_class, [-1]), tf.range(num_images * num_classes + 1))

    def one_class(group: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        start, end = edges[group], edges[group + 1]
        index, kept_scores, num_valid = _suppress_one(flat_boxes[start:end], flat_scores[start:end], settings)
        return index + start, kept_scores, num_valid

    index, kept_scores, num_valid = tf.map_fn(
        one_class, tf.range(num_images * num_classes), fn_output_signature=(tf.int32, tf.float32, tf.int32)
    )
    kept_scores = tf.reshape(kept_scores, [num_images, num_classes * max_outputs])
    kept_scores, best = tf.math.top_k(kept_scores, max_outputs)
    index = tf.gather(tf.reshape(index, [num_images, num_classes * max_outputs]), best, batch_dims=1)
    # The index of a padding row may be one past the last candidate.
    index = tf.gather(position, tf.minimum(index, tf.size(position) - 1)) % num_candidates
    num_valid = tf.minimum(tf.reduce_sum(tf.reshape(num_valid, [num_images, num_classes]), axis=-1), max_outputs)
    return _shaped(Kept(index, kept_scores, num_valid), max_outputs)


def _suppress_one(boxes: Tensor, scores: Tensor, settings: Suppression) -> tuple[Tensor, Tensor, Tensor]:
    index, kept_scores, num_valid = tf.raw_ops.NonMaxSuppressionV5(
        boxes=boxes,
        scores=scores,
        max_output_size=settings.max_outputs,
        iou_threshold=settings.iou_threshold,
        score_threshold=settings.score_threshold,
        # The op's factor is exp(-iou^2 / (2 * sigma)).
        soft_nms_sigma=settings.sigma / 2.0,
        pad_to_max_output_size=False,
    )
    padding = [[0, settings.max_outputs - num_valid]]
    return tf.pad(index, padding), tf.pad(kept_scores, padding), num_valid


def _shaped(kept: Kept, max_outputs: int) -> Kept:
    """Returns the same values with static shapes, which graphs and converters need."""
    return Kept(
        tf.ensure_shape(kept.index, (None, max_outputs)),
        tf.ensure_shape(kept.scores, (None, max_outputs)),
        kept.num_valid,
    )
