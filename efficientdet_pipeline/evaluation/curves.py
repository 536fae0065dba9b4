"""Precision, recall and F1 by score threshold, and the threshold of the best F1.

s: thresholds of a curve, g: points of a grid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from efficientdet_pipeline.evaluation.average_precision import ranked_class
from efficientdet_pipeline.evaluation.instances import Instances
from efficientdet_pipeline.evaluation.matching import Matches


@dataclass(frozen=True)
class OperatingPoint:
    """Precision, recall and F1 at a score threshold."""

    threshold: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class ScoreCurve:
    """Precision and recall of one class at every threshold where they change."""

    thresholds: np.ndarray
    """(s,) scores, descending: detections with at least this score count."""
    precision: np.ndarray
    """(s,)."""
    recall: np.ndarray
    """(s,)."""
    num_objects: int

    @property
    def f1(self) -> np.ndarray:
        """Returns (s,) F1 scores; 0 where precision and recall are 0."""
        total = self.precision + self.recall
        return np.where(total > 0, 2 * self.precision * self.recall / np.maximum(total, 1e-12), 0.0)

    def at(self, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns (g,) precision, recall and F1 at other thresholds; precision is NaN without detections."""
        # The last threshold that is at least as high.
        place = np.searchsorted(-self.thresholds, -np.asarray(thresholds), side="right") - 1
        is_shown = place >= 0
        if not len(self.thresholds):
            return np.full(len(place), np.nan), np.zeros(len(place)), np.zeros(len(place))
        return (
            np.where(is_shown, self.precision[place], np.nan),
            np.where(is_shown, self.recall[place], 0.0),
            np.where(is_shown, self.f1[place], 0.0),
        )

    @property
    def best(self) -> OperatingPoint | None:
        """Returns the point of the highest F1, on ties the highest threshold; None if F1 is 0 everywhere."""
        f1 = self.f1
        if not len(f1) or f1.max() <= 0:
            return None
        place = int(f1.argmax())
        return OperatingPoint(
            *(float(each[place]) for each in (self.thresholds, self.precision, self.recall, f1)),
        )


def score_curves(instances: Instances, matches: Matches, *, level: int = 0) -> dict[int, ScoreCurve]:
    """Returns the curve of each class that has objects.

    Args:
      instances: ground truth and detections.
      matches: of all detections.
      level: index of the IoU threshold; the first is 0.5.
    """
    curves = {}
    for class_id in instances.class_ids:
        ranked = ranked_class(instances, matches, class_id)
        if not len(ranked.truth_rows):
            continue
        counts = ranked.is_right[level] | ranked.is_wrong[level]
        scores = instances.found.scores[ranked.rows][counts]
        right = np.cumsum(ranked.is_right[level][counts])
        # Detections of equal score share a threshold.
        last = np.flatnonzero(np.diff(scores, append=-np.inf))
        curves[class_id] = ScoreCurve(
            scores[last], right[last] / (last + 1), right[last] / len(ranked.truth_rows), len(ranked.truth_rows)
        )
    return curves


def best_overall(curves: Mapping[int, ScoreCurve]) -> OperatingPoint | None:
    """Returns the point of the highest mean F1 over classes, one threshold for all; None without correct detections.

    Precision is averaged over the classes with detections above the threshold.
    """
    measured = list(curves.values())
    if not measured:
        return None
    thresholds = np.unique(np.concatenate([curve.thresholds for curve in measured]))[::-1]
    f1 = mean_f1(measured, thresholds)
    if not len(f1) or f1.max() <= 0:
        return None
    place = int(f1.argmax())
    precision, recall, _ = (
        np.array(values) for values in zip(*(each.at(thresholds[[place]]) for each in measured), strict=True)
    )
    return OperatingPoint(
        float(thresholds[place]), float(np.nanmean(precision)), float(recall.mean()), float(f1[place])
    )


def mean_f1(curves: Sequence[ScoreCurve], thresholds: np.ndarray) -> np.ndarray:
    """Returns (g,) mean F1 over classes at each threshold."""
    total = np.zeros(len(thresholds))
    for curve in curves:
        total += curve.at(thresholds)[2]
    return total / max(1, len(curves))
