"""Confusion matrix of a detector, with background as an additional class."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from efficientdet_pipeline.evaluation.instances import Instances
from efficientdet_pipeline.evaluation.matching import NOTHING, Matches, OverlapPairs, overlap_pairs


@dataclass(frozen=True)
class ConfusionMatrix:
    """Counts of (true class, detected class); k classes and the background, which is last."""

    counts: np.ndarray
    """(k + 1, k + 1): rows are true classes, columns detected ones; the last row holds false positives, the last
    column missed objects, and the corner is 0."""
    class_ids: tuple[int, ...]
    """(k,) class ids of the rows and columns, without the background."""

    @property
    def shares(self) -> np.ndarray:
        """Returns the counts normalised by row: the share of a class's objects detected as each class."""
        return self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1)

    def most_confused(self, limit: int = 10) -> list[tuple[int, int, int]]:
        """Returns (true class id, detected class id, count) of the most frequent confusions between classes."""
        between = self.counts[:-1, :-1] * ~np.eye(len(self.class_ids), dtype=bool)
        order = np.argsort(-between.ravel(), kind="stable")[:limit]
        rows, columns = np.unravel_index(order, between.shape) if len(order) else (order, order)
        return [
            (self.class_ids[row], self.class_ids[column], int(between[row, column]))
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
            if between[row, column]
        ]


def confusion_matrix(
    instances: Instances,
    matches: Matches,
    *,
    threshold: float,
    class_thresholds: Mapping[int, float] | None = None,
    level: int = 0,
    pairs: OverlapPairs | None = None,
) -> ConfusionMatrix:
    """Returns the confusion matrix of the detections above a score threshold.

    Detections are first matched within their class, as for precision and recall at that score, so the diagonal holds
    the correct detections. The rest is matched across classes, largest IoU first.

    Args:
      instances: ground truth and detections.
      matches: of all detections, by class.
      threshold: minimum score.
      class_thresholds: class id to a minimum score that replaces `threshold`.
      level: index of the IoU threshold in `matches`, used by both steps; the first is 0.5.
      pairs: overlaps across classes, if they are computed already.
    """
    truth, found, class_ids = instances.truth, instances.found, instances.class_ids
    known = np.array(class_ids, np.int64)
    least = np.full(len(found), threshold)
    for class_id, own in (class_thresholds or {}).items():
        least[found.class_ids == class_id] = own
    is_shown = (found.scores >= least) & ~matches.found_ignored[level] & np.isin(found.class_ids, known)
    counts = np.zeros((len(known) + 1, len(known) + 1), np.int64)
    partner = np.where(is_shown, matches.truth_rows[level], NOTHING)
    truth_free = ~matches.truth_ignored.copy()
    truth_free[partner[partner != NOTHING]] = False
    pairs = overlap_pairs(instances, across_classes=True) if pairs is None else pairs
    is_near = (pairs.iou >= matches.thresholds[level]) & is_shown[pairs.found] & ~truth.is_crowd[pairs.truth]
    rows, columns = pairs.found[is_near], pairs.truth[is_near]
    for place in np.argsort(-pairs.iou[is_near], kind="stable"):
        row, column = rows[place], columns[place]
        if partner[row] == NOTHING and truth_free[column]:
            partner[row], truth_free[column] = column, False
    shown = np.flatnonzero(is_shown)
    there = np.full(len(shown), len(known))
    paired = partner[shown] != NOTHING
    there[paired] = np.searchsorted(known, truth.class_ids[partner[shown][paired]])
    np.add.at(counts, (there, np.searchsorted(known, found.class_ids[shown])), 1)
    missed = np.searchsorted(known, truth.class_ids[truth_free])
    np.add.at(counts, (missed, np.full(len(missed), len(known))), 1)
    return ConfusionMatrix(counts, class_ids)
