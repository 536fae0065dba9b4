"""Test-time augmentation: detections of flipped and downscaled views of an image, fused."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.evaluation.fusion import MIN_IOU, fuse_detections
from efficientdet_pipeline.inference.results import ImageDetections

Detect = Callable[[np.ndarray], ImageDetections]
"""uint8 RGB (h, w, 3) → detections in image pixels."""
_PADDING = 114
"""Grey level around a downscaled image: close to the mean of natural images."""


class View(NamedTuple):
    """A transformed input of the detector."""

    is_mirrored: bool = False
    """Whether it is flipped horizontally."""
    scale: float = 1.0
    """Side of the image as a share of the detector's canvas, above 0 and at most 1; the rest is padding."""


def views(*, mirror: bool, scales: Sequence[float] = (1.0,)) -> list[View]:
    """Returns all views: each scale, and with `mirror` each scale flipped.

    Raises:
      OptionsError: a scale is not above 0 and at most 1. (An image is fitted to the canvas; enlarging it needs a
        network with a larger canvas.)
    """
    wrong = [scale for scale in scales if not 0 < scale <= 1]
    if wrong or not scales:
        raise OptionsError(
            f"Scales of test-time augmentation must be above 0 and at most 1. Received {list(scales)}; for"
            " larger images fuse with a network of a larger image_size."
        )
    return [View(is_mirrored, scale) for scale in scales for is_mirrored in ((False, True) if mirror else (False,))]


def show(image: np.ndarray, view: View) -> np.ndarray:
    """Returns the view of an image; uint8 RGB (h, w, 3)."""
    shown = image[:, ::-1] if view.is_mirrored else image
    if view.scale == 1:
        return np.ascontiguousarray(shown)
    height, width = (round(side / view.scale) for side in image.shape[:2])
    canvas = np.full((height, width, 3), _PADDING, np.uint8)
    canvas[: image.shape[0], : image.shape[1]] = shown
    return canvas


def in_image(found: ImageDetections, view: View, size: tuple[int, int]) -> ImageDetections:
    """Returns the detections of a view in image pixels, without those in the padding; `size` is height, width."""
    height, width = size
    boxes = np.clip(np.asarray(found.boxes, np.float64).reshape(-1, 4), 0, [height, width, height, width])
    if view.is_mirrored:
        y0, x0, y1, x1 = boxes.T
        boxes = np.stack([y0, width - x1, y1, width - x0], axis=1)
    is_inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return ImageDetections(
        boxes[is_inside],
        np.asarray(found.scores)[is_inside],
        np.asarray(found.class_ids)[is_inside],
        source_id=found.source_id,
    )


def detect_in_views(image: np.ndarray, detectors: Sequence[Detect], shown: Sequence[View]) -> ImageDetections:
    """Returns the fused detections of several detectors in several views of an image.

    Fusion takes one box per object from each: boxes that soft-NMS keeps beside a better one would lower its score.
    """
    each = [
        without_doubles(in_image(detect(show(image, view)), view, (image.shape[0], image.shape[1])))
        for detect in detectors
        for view in shown
    ]
    return fuse_detections(each)


def without_doubles(found: ImageDetections, *, min_iou: float = MIN_IOU) -> ImageDetections:
    """Returns the detections, best first, without those that overlap a better one of their class by `min_iou`."""
    order = np.argsort(-np.asarray(found.scores), kind="stable")
    boxes, class_ids = np.asarray(found.boxes, np.float64).reshape(-1, 4)[order], np.asarray(found.class_ids)[order]
    low, high = np.maximum(boxes[:, None, :2], boxes[None, :, :2]), np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared, areas = np.clip(high - low, 0, None).prod(axis=-1), (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1)
    union = areas[:, None] + areas[None] - shared
    is_double = (shared >= min_iou * union) & (class_ids[:, None] == class_ids[None]) & (union > 0)
    kept: list[int] = []
    for row in range(len(boxes)):
        if not is_double[row, kept].any():
            kept.append(row)
    return ImageDetections(
        boxes[kept], np.asarray(found.scores)[order][kept], class_ids[kept], source_id=found.source_id
    )
