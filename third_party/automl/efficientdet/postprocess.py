"""Postprocessing: decodes the network's outputs, applies NMS and returns detections. In TensorFlow.

Evaluation, export and inference share one default, that of automl's published
average precision: the 5000 best (anchor, class) pairs, gaussian suppression
within each class, 100 detections per image.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import tensorflow as tf
from jaxtyping import Float, Int

from efficientdet import nms
from efficientdet.anchors import anchor_boxes
from efficientdet.boxes import MAX_LOG_STRETCH
from efficientdet.detectors.config import DetectorParts
from efficientdet.types import Detections, Pyramid, Tensor

if TYPE_CHECKING:
    from efficientdet.any_detector import AnyDetectorConfig

MODES = ("per_class", "global", "combined")

EVALUATION_NMS_INPUTS = 5000
"""Number of (anchor, class) pairs that automl's evaluation passes to NMS."""


EVALUATION_NMS = {"method": "gaussian", "sigma": 0.5, "score_thresh": None, "max_output_size": 100}
"""Default NMS of detectors built from parts: that of automl's published average precision."""


class Candidates(NamedTuple):
    """Inputs of NMS; `c` candidates per image."""

    boxes: Float[Tensor, "b c 4"]
    scores: Float[Tensor, "b c"]
    class_index: Int[Tensor, "b c"]


def detections(
    config: "AnyDetectorConfig",
    outputs: dict[str, Any],
    image_scales: Float[Tensor, "b ..."] | None = None,
    *,
    mode: str = "per_class",
    nms_configs: Mapping[str, Any] | None = None,
    compat: str | None = None,
) -> Detections:
    """Returns the detections, best first, in pixels of the original images.

    It can be traced with an unknown number of images, and the graph frozen.

    Args:
      config: of the network.
      outputs: {"class": {level: logits}, "box": {level: deltas}}; for a detector built from parts the outputs of its
        head, or {"boxes": (b, a, 4), "scores": (b, a, k)} if they are decoded already.
      image_scales: original pixels per canvas pixel of each image, (b,), or
        vertically and horizontally, (b, 2), from `preprocess.canvas_batch`.
        None: boxes are in canvas pixels.
      mode: "per_class": only boxes of one class suppress each other. "global":
        all do, as in automl's serving. "combined": one operation of
        TensorFlow, hard suppression per class.
        A `test_cfg` in the config of a detector built from parts overrides it.
      nms_configs: automl's keys; they override those of `config.nms_configs`:
        method, iou_thresh, score_thresh, sigma, max_nms_inputs (number of
        (anchor, class) pairs; 0: the best class of each anchor) and
        max_output_size. In mode "per_class" max_nms_inputs is 5000 if this
        argument does not set it and the config has 0.
      compat: "automl" does not clip boxes in mode "per_class", and uses a fixed
        iou_thresh of 0.5 in mode "combined". None: all boxes are clipped to the
        canvas and iou_thresh applies.

    Raises:
      ValueError: an unknown mode, or an unknown NMS method.

    >>> detections(config, model(canvas), scales).boxes.shape
    (8, 100, 4)
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}. Received {mode!r}.")
    if compat not in (None, "", "automl"):
        raise ValueError(f"compat must be 'automl' or None. Received {compat!r}.")
    if isinstance(config, DetectorParts):
        return _on_images(_of_parts(config, outputs, mode, nms_configs or {}), image_scales)
    settings = {**config.nms_configs, **(nms_configs or {})}
    if mode == "per_class" and not settings.get("max_nms_inputs") and "max_nms_inputs" not in (nms_configs or {}):
        settings["max_nms_inputs"] = EVALUATION_NMS_INPUTS
    anchors = tf.constant(anchor_boxes(config))
    logits, deltas = _all_levels(outputs["class"], config.num_classes), _all_levels(outputs["box"], 4)

    if mode == "combined":
        found = _combined(logits, deltas, anchors, settings, compat)
    else:
        candidates = _candidates(logits, deltas, anchors, int(settings.get("max_nms_inputs") or 0))
        suppression = nms.suppression_from(settings)
        if mode == "per_class":
            kept = nms.suppress_per_class(*candidates, config.num_classes, suppression)
        else:
            kept = nms.suppress(candidates.boxes, candidates.scores, suppression)
        found = _chosen(candidates, kept)
    if not (mode == "per_class" and compat == "automl"):
        found = found._replace(boxes=_clipped(found.boxes, *map(float, config.image_size)))
    return _on_images(found, image_scales)


def _on_images(found: Detections, image_scales: Tensor | None) -> Detections:
    """Returns detections with boxes converted from canvas pixels to pixels of the images."""
    if image_scales is None:
        return found
    scales = tf.cast(image_scales, tf.float32)
    factors = scales[:, tf.newaxis] if scales.shape.rank == 1 else tf.tile(scales, [1, 2])
    return found._replace(boxes=found.boxes * factors[:, tf.newaxis])


def _of_parts(config: DetectorParts, outputs: dict[str, Any], mode: str, nms_configs: Mapping[str, Any]) -> Detections:
    """Returns the detections of a detector built from parts, in canvas pixels."""
    boxes, scores = (outputs["boxes"], outputs["scores"]) if "boxes" in outputs else config.decode(outputs)
    if config.has_own_suppression:
        settings = {**config.nms_configs, **nms_configs}
        return candidate_detections(boxes, scores, image_size=config.image_size, nms_configs=settings)
    if mode == "combined":
        raise ValueError("mode must be per_class or global for a detector built from parts. Received 'combined'.")
    settings = {"max_nms_inputs": EVALUATION_NMS_INPUTS if mode == "per_class" else 0, **EVALUATION_NMS, **nms_configs}
    candidates = _best_candidates(boxes, scores, int(settings["max_nms_inputs"] or 0))
    suppression = nms.suppression_from(settings)
    if mode == "per_class":
        kept = nms.suppress_per_class(*candidates, config.num_classes, suppression)
    else:
        kept = nms.suppress(candidates.boxes, candidates.scores, suppression)
    found = _chosen(candidates, kept)
    return found._replace(boxes=_clipped(found.boxes, *map(float, config.image_size)))


def clip_to_images(found: Detections, image_sizes: Int[Tensor, "b 2"]) -> Detections:
    """Returns the detections with boxes clipped to their images.

    `detections` knows only the canvas, part of which may be padding.

    Args:
      found: in original pixels.
      image_sizes: height and width of each image in pixels.
    """
    sizes = tf.cast(image_sizes, tf.float32)
    return found._replace(boxes=_clipped(found.boxes, sizes[:, :1], sizes[:, 1:]))


# Two formulas of `boxes` again: with the JAX backend `keras.ops` are JAX's, while this module needs TensorFlow.


def _decoded(deltas: Float[Tensor, "*b a 4"], anchors: Float[Tensor, "*#b a 4"]) -> Float[Tensor, "*b a 4"]:
    """Returns `boxes.decode_boxes(deltas, anchors)`."""
    anchor_size = anchors[..., 2:] - anchors[..., :2]
    center = (anchors[..., :2] + anchors[..., 2:]) / 2.0 + deltas[..., :2] * anchor_size
    half_size = tf.exp(tf.minimum(deltas[..., 2:], MAX_LOG_STRETCH)) * anchor_size / 2.0
    return tf.concat([center - half_size, center + half_size], axis=-1)


def _clipped(boxes: Float[Tensor, "*b 4"], height: Tensor, width: Tensor) -> Float[Tensor, "*b 4"]:
    """Returns `boxes.clip_boxes(boxes, height, width)`."""
    top, left, bottom, right = tf.unstack(boxes, axis=-1)
    tops, lefts, bottoms, rights = (
        tf.minimum(tf.maximum(corner, 0.0), limit)
        for corner, limit in ((top, height), (left, width), (bottom, height), (right, width))
    )
    return tf.stack([tops, lefts, bottoms, rights], axis=-1)


def _all_levels(pyramid: Pyramid, depth: int) -> Float[Tensor, "b a c"]:
    """Returns the outputs of all levels concatenated, in the order of `anchor_boxes`."""
    maps = [tf.cast(pyramid[level], tf.float32) for level in sorted(pyramid)]
    return tf.concat([tf.reshape(level, [tf.shape(level)[0], -1, depth]) for level in maps], axis=1)


def _candidates(
    logits: Float[Tensor, "b a k"], deltas: Float[Tensor, "b a 4"], anchors: Float[Tensor, "a 4"], max_inputs: int
) -> Candidates:
    """Returns the best `max_inputs` (anchor, class) pairs, or for 0 each anchor with its best class."""
    if max_inputs == 0:
        class_index = tf.argmax(logits, axis=-1, output_type=tf.int32)
        return Candidates(_decoded(deltas, anchors), tf.sigmoid(tf.reduce_max(logits, axis=-1)), class_index)
    best, anchor, class_index = _top_pairs(logits, max_inputs, num_anchors=anchors.shape[0])
    # Sigmoids and boxes are computed for the selected candidates only.
    boxes = _decoded(tf.gather(deltas, anchor, batch_dims=1), tf.gather(anchors, anchor))
    return Candidates(boxes, tf.sigmoid(best), class_index)


def _top_pairs(
    logits: Float[Tensor, "b a k"], max_pairs: int, *, num_anchors: int
) -> tuple[Float[Tensor, "b c"], Int[Tensor, "b c"], Int[Tensor, "b c"]]:
    """Returns logit, anchor and class of the best pairs of each image, unsorted.

    If there are fewer pairs, all of them. Ties go to the lower anchor and the
    lower class.
    """
    num_classes = logits.shape[-1]
    anchor = tf.broadcast_to(tf.range(num_anchors), tf.shape(logits)[:2])
    if max_pairs < num_anchors and num_classes > 1:
        # The c best pairs belong to the c best anchors. Selecting those first halves the time at 90 classes.
        _, anchor = tf.math.top_k(tf.reduce_max(logits, axis=-1), max_pairs, sorted=False)
        anchor = tf.sort(anchor, axis=-1)
        logits = tf.gather(logits, anchor, batch_dims=1)
    pairs = tf.reshape(logits, [tf.shape(logits)[0], -1])
    best, index = tf.math.top_k(pairs, min(max_pairs, num_anchors * num_classes), sorted=False)
    return best, tf.gather(anchor, index // num_classes, batch_dims=1), index % num_classes


def _chosen(candidates: Candidates, kept: nms.Kept) -> Detections:
    """Returns the kept candidates; rows from num_valid on are zero."""
    is_valid = tf.sequence_mask(kept.num_valid, kept.index.shape[1], dtype=tf.float32)
    class_ids = tf.cast(tf.gather(candidates.class_index, kept.index, batch_dims=1) + 1, tf.float32)
    return Detections(
        boxes=tf.gather(candidates.boxes, kept.index, batch_dims=1) * is_valid[..., tf.newaxis],
        scores=kept.scores * is_valid,
        class_ids=class_ids * is_valid,
        num_valid=kept.num_valid,
    )


def _combined(
    logits: Tensor, deltas: Tensor, anchors: Tensor, settings: Mapping[str, Any], compat: str | None
) -> Detections:
    iou_threshold = None if compat == "automl" else settings.get("iou_thresh")
    max_outputs = int(settings["max_output_size"])
    boxes, scores, class_index, num_valid = tf.image.combined_non_max_suppression(
        _decoded(deltas, anchors)[:, :, tf.newaxis, :],
        tf.sigmoid(logits),
        max_output_size_per_class=max_outputs,
        max_total_size=max_outputs,
        iou_threshold=iou_threshold or 0.5,
        score_threshold=settings.get("score_thresh") or float("-inf"),
        clip_boxes=False,
    )
    is_valid = tf.sequence_mask(num_valid, max_outputs, dtype=tf.float32)
    return Detections(boxes, scores, (class_index + 1.0) * is_valid, num_valid)


def candidate_detections(
    boxes: Float[Tensor, "b a 4"],
    scores: Float[Tensor, "b a k"],
    *,
    image_size: tuple[int, int],
    nms_configs: Mapping[str, Any],
) -> Detections:
    """Returns the detections of a detector built from parts, best first, in canvas pixels.

    Args:
      boxes: decoded boxes of all priors, from `OneStageDetector.decode`.
      scores: 0 to 1, of each class.
      image_size: (height, width) of the canvas, to which boxes are clipped.
      nms_configs: of the detector: mode (global or per_class), method, iou_thresh,
        score_thresh, sigma, max_nms_inputs and max_output_size.
    """
    candidates = _best_candidates(boxes, scores, int(nms_configs.get("max_nms_inputs") or 0))
    is_gaussian = nms_configs.get("method") == "gaussian"
    lowest = 0.001 if is_gaussian else float("-inf")
    suppression = nms.Suppression(
        # tfdet: soft suppression only lowers scores, whatever the IoU.
        iou_threshold=1.0 if is_gaussian else nms_configs.get("iou_thresh") or 0.5,
        score_threshold=nms_configs.get("score_thresh") or lowest,
        sigma=(nms_configs.get("sigma") or 0.5) if is_gaussian else 0.0,
        max_outputs=int(nms_configs.get("max_output_size") or 100),
    )
    if nms_configs.get("mode") == "per_class":
        kept = nms.suppress_per_class(*candidates, scores.shape[2], suppression)
    else:
        kept = nms.suppress(candidates.boxes, candidates.scores, suppression)
    found = _chosen(candidates, kept)
    return found._replace(boxes=_clipped(found.boxes, *map(float, image_size)))


def _best_candidates(boxes: Float[Tensor, "b a 4"], scores: Float[Tensor, "b a k"], max_inputs: int) -> Candidates:
    """Returns the best `max_inputs` (prior, class) pairs, or for 0 each prior with its best class."""
    if max_inputs:
        best, prior, class_index = _top_pairs(scores, max_inputs, num_anchors=scores.shape[1])
        return Candidates(tf.gather(boxes, prior, batch_dims=1), best, class_index)
    class_index = tf.argmax(scores, axis=-1, output_type=tf.int32)
    return Candidates(boxes, tf.reduce_max(scores, axis=-1), class_index)
