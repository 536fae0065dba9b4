"""Greedy IoU matching of detections with ground truth, as in COCO.

t: IoU thresholds, n: ground-truth boxes, d: detections, of all images.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from efficientdet_pipeline.evaluation.instances import Instances, pairwise_iou

IOU_THRESHOLDS: Final = np.linspace(0.5, 0.95, 10)
MAX_DETECTIONS = 100
"""Maximum detections per class and image in COCO's evaluation."""
NOTHING = -1
_MAX_PAIRS = 2_000_000


@dataclass(frozen=True)
class Matches:
    """Matches of detections with objects."""

    thresholds: np.ndarray
    """(t,)."""
    truth_rows: np.ndarray
    """(t, d): index of the object that a detection is matched with; `NOTHING` (-1) if unmatched."""
    found_rows: np.ndarray
    """(t, n): index of the detection that matches an object; `NOTHING` if unmatched."""
    found_ignored: np.ndarray
    """(t, d): the detection counts neither as correct nor as wrong: it matches an ignored object or is excluded."""
    truth_ignored: np.ndarray
    """(n,): the object is ignored."""
    best_iou: np.ndarray
    """(d,): largest IoU with an object of the class, crowds and ignored ones included; 0 without one."""


class OverlapPairs(NamedTuple):
    """Overlapping detections and objects of one image; p pairs over all images."""

    found: np.ndarray
    """(p,) indices of detections."""
    truth: np.ndarray
    """(p,) indices of objects."""
    iou: np.ndarray
    """(p,) IoU; with a crowd, the share of the detection inside it."""
    ranks: np.ndarray
    """(d,) rank of a detection, from 0, by descending score within its class and image."""


def overlap_pairs(instances: Instances, *, across_classes: bool = False) -> OverlapPairs:
    """Returns all pairs in one image with an IoU above 0; pairs of different classes only if `across_classes`."""
    truth, found = instances.truth, instances.found
    num = int(max(truth.class_ids.max(initial=0), found.class_ids.max(initial=0))) + 1
    truth_keys, found_keys = (
        side.images if across_classes else side.images * num + side.class_ids for side in (truth, found)
    )
    order, objects = np.lexsort((-found.scores, found_keys)), np.argsort(truth_keys, kind="stable")
    sorted_keys = found_keys[order]
    ranks = np.empty(len(found), np.int64)
    ranks[order] = np.arange(len(order)) - np.searchsorted(sorted_keys, sorted_keys, side="left")
    lows, highs = (np.searchsorted(truth_keys[objects], sorted_keys, side=side) for side in ("left", "right"))
    parts = []
    for part in _chunks(highs - lows):
        numbers = (highs - lows)[part]
        rows = np.repeat(order[part], numbers)
        starts = np.repeat(lows[part] - np.cumsum(numbers) + numbers, numbers)
        columns = objects[starts + np.arange(len(rows))]
        iou = pairwise_iou(found.boxes_xywh[rows], truth.boxes_xywh[columns], truth.is_crowd[columns])
        parts.append((rows[iou > 0], columns[iou > 0], iou[iou > 0]))
    nothing = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    rows, columns, iou = (np.concatenate(each) for each in zip(nothing, *parts, strict=True))
    return OverlapPairs(rows, columns, iou, ranks)


def match(
    instances: Instances,
    *,
    thresholds: np.ndarray = IOU_THRESHOLDS,
    truth_ignored: np.ndarray | None = None,
    found_outside: np.ndarray | None = None,
    limit: int = MAX_DETECTIONS,
    pairs: OverlapPairs | None = None,
) -> Matches:
    """Returns the matches of each class in each image, by descending score.

    A detection is matched with the object of largest IoU, on ties the last one, and with an ignored object only if no
    other is left. A crowd may be matched by several detections.

    Args:
      instances: ground truth and detections.
      thresholds: (t,) IoU thresholds.
      truth_ignored: (n,), ignored objects, in addition to crowds.
      found_outside: (d,), detections that are ignored if unmatched, such as those of another size in COCO's metrics
        by size.
      limit: evaluated detections per class and image; the others are ignored.
      pairs: from `overlap_pairs`, if they are computed already.
    """
    truth, found = instances.truth, instances.found
    pairs = overlap_pairs(instances) if pairs is None else pairs
    ignored = truth.is_crowd if truth_ignored is None else truth.is_crowd | truth_ignored
    limits = np.minimum(thresholds, 1 - 1e-10)
    truth_rows = np.full((len(thresholds), len(found)), NOTHING)
    is_free = np.ones((len(thresholds), len(truth)), bool)
    for rows, columns, iou in _rounds(pairs, ignored, float(limits.min(initial=1.0)), limit):
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        usable = is_free[:, columns] & (iou >= limits[:, None])
        # The pairs of a detection are sorted, the preferred one last.
        last = np.maximum.reduceat(np.where(usable, np.arange(len(rows)), NOTHING), starts, axis=1)
        levels, which = np.nonzero(last != NOTHING)
        taken = columns[last[levels, which]]
        truth_rows[levels, rows[starts][which]] = taken
        is_free[levels, taken] = truth.is_crowd[taken]
    found_ignored = np.where(truth_rows == NOTHING, pairs.ranks >= limit, ignored[truth_rows] if len(truth) else False)
    if found_outside is not None:
        found_ignored |= (truth_rows == NOTHING) & found_outside
    best_iou = np.zeros(len(found))
    np.maximum.at(best_iou, pairs.found, pairs.iou)
    found_rows = np.full(is_free.shape, NOTHING)
    levels, rows = np.nonzero(truth_rows != NOTHING)
    found_rows[levels, truth_rows[levels, rows]] = rows
    return Matches(np.asarray(thresholds), truth_rows, found_rows, found_ignored, ignored, best_iou)


def _rounds(
    pairs: OverlapPairs, ignored: np.ndarray, least: float, limit: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields (found, truth, iou) for the pairs of the best detections per class and image, then of the second best, ….

    In one round no two detections compete, so that all images are processed together.
    """
    is_near = (pairs.iou >= least) & (pairs.ranks[pairs.found] < limit)
    rows, columns, iou = pairs.found[is_near], pairs.truth[is_near], pairs.iou[is_near]
    order = np.lexsort((columns, iou, ~ignored[columns], rows, pairs.ranks[rows]))
    rows, columns, iou = rows[order], columns[order], iou[order]
    starts = np.flatnonzero(np.diff(pairs.ranks[rows], prepend=-1)).tolist()
    for start, end in zip(starts, [*starts, len(rows)][1:], strict=True):
        yield rows[start:end], columns[start:end], iou[start:end]


def _chunks(numbers: np.ndarray) -> Iterator[slice]:
    """Yields slices of detections with about `_MAX_PAIRS` candidate objects; `numbers` is the count per detection."""
    totals = np.cumsum(numbers)
    start = 0
    while start < len(numbers):
        before = int(totals[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(totals, before + _MAX_PAIRS, side="right")))
        yield slice(start, end)
        start = end
