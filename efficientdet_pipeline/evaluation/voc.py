"""Average precision of Pascal VOC: 11 points in 2007, area under the curve since 2010.

Source: VOCevaldet.m and VOCap.m of the development kits. Unlike in COCO, a detection is compared only with the object
of largest IoU, and is wrong if another detection already matches that object.
"""

from typing import NamedTuple

import numpy as np

from efficientdet_pipeline.evaluation.average_precision import UNDEFINED
from efficientdet_pipeline.evaluation.instances import Instances, iou_xywh

MIN_IOU = 0.5


class VocPrecision(NamedTuple):
    """AP at IoU 0.5 by both definitions; -1 for a class without objects that count."""

    per_class_2007: np.ndarray
    """(k,), classes of `Instances.class_ids`."""
    per_class_2012: np.ndarray
    """(k,)."""

    @property
    def mean_2007(self) -> float:
        """Returns the mean over the classes with objects."""
        return _mean(self.per_class_2007)

    @property
    def mean_2012(self) -> float:
        """Returns the mean over the classes with objects."""
        return _mean(self.per_class_2012)


def voc_precision(instances: Instances, *, min_iou: float = MIN_IOU, inclusive_corners: bool = True) -> VocPrecision:
    """Returns Pascal VOC's AP of every class.

    Objects marked as difficult, and COCO's crowds, are ignored: detections of them are not wrong.

    Args:
      instances: ground truth and detections.
      min_iou: IoU threshold of a correct detection.
      inclusive_corners: as in the development kit, a box from pixel 1 to pixel 3 is three pixels wide.
    """
    outcomes = [_outcomes(instances, class_id, min_iou, 1.0 * inclusive_corners) for class_id in instances.class_ids]
    return VocPrecision(
        np.array([eleven_points(*each) for each in outcomes], np.float64),
        np.array([area_under_curve(*each) for each in outcomes], np.float64),
    )


def eleven_points(is_right: np.ndarray, is_wrong: np.ndarray, num_truths: int) -> float:
    """Returns the mean of the maximum precision at recalls of at least 0, 0.1 … 1; -1 without objects.

    Recalls are compared as integers, so that 3 of 10 objects are a recall of 0.3.

    Args:
      is_right: (d,), detections by descending score.
      is_wrong: (d,).
      num_truths: number of objects.
    """
    if not num_truths:
        return UNDEFINED
    right, precision = _precision(is_right, is_wrong)
    return sum(float(precision[10 * right >= tenth * num_truths].max(initial=0.0)) for tenth in range(11)) / 11


def area_under_curve(is_right: np.ndarray, is_wrong: np.ndarray, num_truths: int) -> float:
    """Returns the area under the monotone precision-recall curve; -1 without objects."""
    if not num_truths:
        return UNDEFINED
    right, precision = _precision(is_right, is_wrong)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(right, prepend=0) * envelope) / num_truths)


def _precision(is_right: np.ndarray, is_wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the cumulative number of correct detections, and their share of those that count."""
    right, wrong = np.cumsum(is_right, dtype=np.int64), np.cumsum(is_wrong, dtype=np.int64)
    return right, right / np.maximum(right + wrong, 1)


def _outcomes(instances: Instances, class_id: int, min_iou: float, extent: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Returns (d,) correct and (d,) wrong detections of a class by descending score, and the number of its objects."""
    truth = instances.truth
    objects, rows = instances.truth_rows(class_id), instances.found_rows(class_id)
    is_optional = truth.is_difficult | truth.is_crowd
    nearest, overlap = _nearest(instances, objects, rows, extent)
    is_right, is_wrong = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    taken: set[int] = set()
    for rank, (row, iou) in enumerate(zip(nearest.tolist(), overlap.tolist(), strict=True)):
        if iou < min_iou:
            is_wrong[rank] = True
        elif not is_optional[row]:
            is_right[rank], is_wrong[rank] = row not in taken, row in taken
            taken.add(row)
    return is_right, is_wrong, int(np.count_nonzero(~is_optional[objects]))


def _nearest(
    instances: Instances, objects: np.ndarray, rows: np.ndarray, extent: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the object of largest IoU for each detection in the same image, on ties the first, and the IoU."""
    truth, found = instances.truth, instances.found
    nearest, overlap = np.full(len(rows), -1), np.full(len(rows), -1.0)
    longer = np.array([0.0, 0.0, extent, extent])
    order = np.argsort(found.images[rows], kind="stable")
    images, starts = np.unique(found.images[rows][order], return_index=True)
    ends = [*starts.tolist(), len(order)][1:]
    lows = np.searchsorted(truth.images[objects], images, side="left").tolist()
    highs = np.searchsorted(truth.images[objects], images, side="right").tolist()
    for start, end, low, high in zip(starts.tolist(), ends, lows, highs, strict=True):
        if low == high:
            continue
        ranks, here = order[start:end], objects[low:high]
        iou = iou_xywh(found.boxes_xywh[rows[ranks]] + longer, truth.boxes_xywh[here] + longer)
        best = iou.argmax(axis=1)
        nearest[ranks], overlap[ranks] = here[best], iou[np.arange(len(ranks)), best]
    return nearest, overlap


def _mean(values: np.ndarray) -> float:
    measured = values[values > UNDEFINED]
    return float(measured.mean()) if len(measured) else UNDEFINED
