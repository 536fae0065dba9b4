"""All boxes of an evaluation as flat arrays, in the order of COCO's evaluation.

n: ground-truth boxes, d: detections, of all images together.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.results import ImageDetections


@dataclass(frozen=True)
class TruthBoxes:
    """Ground truth of all images."""

    images: np.ndarray
    """(n,) indices in `Instances.source_ids`, ascending."""
    class_ids: np.ndarray
    """(n,) int64."""
    boxes_xywh: np.ndarray
    """(n, 4) float64, pixels of the source image."""
    areas: np.ndarray
    """(n,) area in square pixels: of the outline if the data state it, else of the box."""
    is_crowd: np.ndarray
    """(n,) bool."""
    is_difficult: np.ndarray
    """(n,) bool: Pascal VOC's flag for objects that are excluded from evaluation."""

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class FoundBoxes:
    """Detections of all images."""

    images: np.ndarray
    """(d,) indices in `Instances.source_ids`, ascending."""
    class_ids: np.ndarray
    """(d,) int64."""
    boxes_xywh: np.ndarray
    """(d, 4) float64, pixels of the source image."""
    scores: np.ndarray
    """(d,) float64."""

    @property
    def areas(self) -> np.ndarray:
        """Returns (d,) areas in square pixels."""
        return self.boxes_xywh[:, 2] * self.boxes_xywh[:, 3]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Instances:
    """Ground truth and detections of an evaluation."""

    source_ids: tuple[str, ...]
    """Ids of all evaluated images."""
    class_ids: tuple[int, ...]
    """Class ids of the label map and of the ground truth, ascending."""
    truth: TruthBoxes
    found: FoundBoxes

    @cached_property
    def _by_class(self) -> tuple[np.ndarray, np.ndarray]:
        return (
            np.argsort(self.truth.class_ids, kind="stable"),
            np.lexsort((self.found.images, -self.found.scores, self.found.class_ids)),
        )

    def truth_rows(self, class_id: int) -> np.ndarray:
        """Returns the indices of the objects of a class, ascending."""
        return _of_class(self._by_class[0], self.truth.class_ids, class_id)

    def found_rows(self, class_id: int) -> np.ndarray:
        """Returns the indices of the detections of a class by descending score; on ties the earlier image first."""
        return _of_class(self._by_class[1], self.found.class_ids, class_id)


def _of_class(order: np.ndarray, class_ids: np.ndarray, class_id: int) -> np.ndarray:
    low, high = (np.searchsorted(class_ids, class_id, side=side, sorter=order) for side in ("left", "right"))
    return order[low:high]


def flatten(
    truth: Sequence[TruthImage], detected: Sequence[ImageDetections], label_map: Mapping[int, str]
) -> Instances:
    """Returns ground truth and detections as flat arrays, images in the order of COCO's ids.

    Args:
      truth: all images of the evaluation, each once.
      detected: at most one for each image of `truth`.
      label_map: class id to name; its classes are evaluated even without objects.

    Raises:
      DataError: an image occurs twice, or has detections but no ground truth.
      ValueError: the number of class ids or scores differs from the number of boxes.
    """
    rows = image_rows(truth, detected)
    truth = sorted(truth, key=lambda image: rows[image.source_id])
    detected = sorted(detected, key=lambda image: rows[image.source_id])
    class_ids = sorted({*map(int, label_map), *(int(i) for image in truth for i in image.class_ids)})
    return Instances(tuple(rows), tuple(class_ids), _truth_boxes(truth, rows), _found_boxes(detected, rows))


def image_rows(truth: Sequence[TruthImage], detected: Sequence[ImageDetections]) -> dict[str, int]:
    """Returns an index for each source id, ascending.

    On ties of scores the detection in the image of the lower index comes first, so the order of COCO's ids gives the
    official result for any order of images.

    Raises:
      DataError: an image occurs twice, or has detections but no ground truth.
    """
    in_order = sorted({image.source_id for image in truth}, key=_coco_order)
    rows = {source_id: number for number, source_id in enumerate(in_order)}
    for images, side in ((truth, "ground truth"), (detected, "detections")):
        twice = [source_id for source_id, times in Counter(i.source_id for i in images).items() if times > 1]
        if twice:
            raise DataError(
                f"Each image must occur once. In the {side}, {len(twice)} source ids occur more often, "
                f"for example {twice[0]!r}. Are shards of different data sets mixed?"
            )
    unknown = [image.source_id for image in detected if image.source_id not in rows]
    if unknown:
        raise DataError(
            f"Every evaluated image must be in the ground truth. {len(unknown)} of {len(detected)} are not, for "
            f"example source_id {unknown[0]!r}; known are {', '.join(map(repr, in_order[:3])) or 'no images'} … "
            "Check that --val_json_file and the validation shards are of one data set."
        )
    return rows


def iou_xywh(boxes: np.ndarray, truths: np.ndarray, is_crowd: np.ndarray | None = None) -> np.ndarray:
    """Returns (d, n) IoUs of boxes (d, 4) with objects (n, 4); see `pairwise_iou`."""
    return pairwise_iou(boxes[:, None], truths[None], None if is_crowd is None else is_crowd[None])


def pairwise_iou(boxes: np.ndarray, truths: np.ndarray, is_crowd: np.ndarray | None = None) -> np.ndarray:
    """Returns the IoU of each box with the ground-truth box at the same index, bit-identical to pycocotools.

    Args:
      boxes: (..., 4) x, y, width, height of detections.
      truths: (..., 4), the same of ground-truth boxes.
      is_crowd: (...,), true where the result is the share of the detection inside the ground-truth box.
    """
    width, height = (
        np.minimum(boxes[..., i] + boxes[..., i + 2], truths[..., i] + truths[..., i + 2])
        - np.maximum(boxes[..., i], truths[..., i])
        for i in (0, 1)
    )
    shared = np.where((width > 0) & (height > 0), width * height, 0.0)
    area, truth_area = boxes[..., 2] * boxes[..., 3], truths[..., 2] * truths[..., 3]
    union = area + truth_area - shared
    if is_crowd is not None:
        union = np.where(is_crowd, area, union)
    return np.divide(shared, union, out=np.zeros(shared.shape), where=(shared > 0) & (union > 0))


def _coco_order(source_id: str) -> tuple[int, str]:
    """Sort key: numbers as numbers, and names after them."""
    return (int(source_id), source_id) if source_id.isdecimal() else (sys.maxsize, source_id)


def _truth_boxes(images: Sequence[TruthImage], rows: Mapping[str, int]) -> TruthBoxes:
    boxes = [_boxes_xywh(image.boxes) for image in images]
    counts = [len(each) for each in boxes]
    boxes_xywh = np.concatenate([np.zeros((0, 4)), *boxes])
    box_areas = boxes_xywh[:, 2] * boxes_xywh[:, 3]
    # An area of 0 means that it is not stated; -1 has the same effect below.
    areas = _joined("areas", [image.areas for image in images], counts, np.float64, fill=-1.0)
    return TruthBoxes(
        images=np.repeat([rows[image.source_id] for image in images], counts).astype(np.int64),
        class_ids=_joined("class_ids", [image.class_ids for image in images], counts, np.int64),
        boxes_xywh=boxes_xywh,
        areas=np.where(areas > 0, areas, box_areas),
        is_crowd=_joined("is_crowd", [image.is_crowd for image in images], counts, bool),
        is_difficult=_joined("is_difficult", [image.is_difficult for image in images], counts, bool),
    )


def _found_boxes(images: Sequence[ImageDetections], rows: Mapping[str, int]) -> FoundBoxes:
    boxes = [_boxes_xywh(image.boxes) for image in images]
    counts = [len(each) for each in boxes]
    return FoundBoxes(
        images=np.repeat([rows[image.source_id] for image in images], counts).astype(np.int64),
        class_ids=_joined("class_ids", [image.class_ids for image in images], counts, np.int64),
        boxes_xywh=np.concatenate([np.zeros((0, 4)), *boxes]),
        scores=_joined("scores", [image.scores for image in images], counts, np.float64),
    )


def _joined(
    name: str, parts: Sequence[np.ndarray | None], counts: Sequence[int], dtype: type, *, fill: float = 0
) -> np.ndarray:
    arrays: list[np.ndarray] = [
        np.full(count, fill, dtype) if part is None else np.asarray(part).reshape(-1).astype(dtype)
        for part, count in zip(parts, counts, strict=True)
    ]
    for array, count in zip(arrays, counts, strict=True):
        if len(array) != count:
            raise ValueError(f"{name} must have one entry for each box. Received {len(array)} for {count} boxes.")
    return np.concatenate([np.zeros(0, dtype), *arrays])


def _boxes_xywh(boxes: np.ndarray) -> np.ndarray:
    y0, x0, y1, x1 = np.asarray(boxes, np.float64).reshape(-1, 4).T
    return np.stack([x0, y0, x1 - x0, y1 - y0], axis=-1)
