"""Weighted boxes fusion of detections from several models or views (Solovyev et al., 2021).

The algorithm of google/automl's `tf2/wbf.py`: boxes are processed in the given order, a cluster's box is the mean of
its boxes weighted by score, its score the mean score times the share of models in the cluster.
"""

from collections.abc import Sequence

import numpy as np

from efficientdet_pipeline.inference.results import ImageDetections

MIN_IOU = 0.55


def fuse_boxes(
    boxes: np.ndarray, scores: np.ndarray, *, num_models: int, min_iou: float = MIN_IOU
) -> tuple[np.ndarray, np.ndarray]:
    """Returns boxes (m, 4) and scores (m,) of the clusters of one class, in order of creation.

    Args:
      boxes: (d, 4) y0 x0 y1 x1 of all models, concatenated.
      scores: (d,).
      num_models: number of models; a cluster of fewer has a proportionally lower score.
      min_iou: IoU with a cluster's box from which a box joins it.
    """
    boxes, scores = np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(scores, np.float64)
    fused, totals = np.zeros((len(boxes), 4)), np.zeros(len(boxes))
    numbers, weighted = np.zeros(len(boxes), np.int64), np.zeros((len(boxes), 4))
    count = 0
    for box, score in zip(boxes, scores, strict=True):
        overlaps = _overlaps(fused[:count], box)
        place = int(overlaps.argmax()) if count and overlaps.max() >= min_iou else count
        count = max(count, place + 1)
        numbers[place] += 1
        totals[place] += score
        weighted[place] += score * box
        fused[place] = weighted[place] / totals[place] if totals[place] > 0 else box
    agreement = np.minimum(1.0, numbers[:count] / num_models)
    return fused[:count], totals[:count] / np.maximum(numbers[:count], 1) * agreement


def fuse_detections(
    detections: Sequence[ImageDetections], *, num_models: int | None = None, min_iou: float = MIN_IOU
) -> ImageDetections:
    """Returns the fused detections of several models or views in one image, best first.

    Args:
      detections: one per model, all of the same image and in its pixels.
      num_models: as in `fuse_boxes`; None means the number of `detections`.
      min_iou: as in `fuse_boxes`.

    Raises:
      ValueError: there are no detections, or they are of different images.
    """
    source_ids = {each.source_id for each in detections}
    if len(source_ids) != 1:
        raise ValueError(f"Detections to fuse must be of one image. Received those of {len(source_ids)} images.")
    boxes = np.concatenate([np.asarray(each.boxes, np.float64).reshape(-1, 4) for each in detections])
    scores = np.concatenate([np.asarray(each.scores, np.float64).reshape(-1) for each in detections])
    class_ids = np.concatenate([np.asarray(each.class_ids, np.int64).reshape(-1) for each in detections])
    parts = []
    for class_id in np.unique(class_ids).tolist():
        own = class_ids == class_id
        fused, fused_scores = fuse_boxes(
            boxes[own], scores[own], num_models=num_models or len(detections), min_iou=min_iou
        )
        parts.append((fused, fused_scores, np.full(len(fused), class_id)))
    nothing = (np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    all_boxes, all_scores, all_ids = (np.concatenate(each) for each in zip(nothing, *parts, strict=True))
    order = np.argsort(-all_scores, kind="stable")
    return ImageDetections(all_boxes[order], all_scores[order], all_ids[order], source_id=detections[0].source_id)


def _overlaps(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    sides = np.maximum(np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2]), 0.0)
    shared = sides[:, 0] * sides[:, 1]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    union = areas + (box[2] - box[0]) * (box[3] - box[1]) - shared
    return np.divide(shared, union, out=np.zeros(len(boxes)), where=union > 0)
