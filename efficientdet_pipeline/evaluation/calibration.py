"""Calibration of scores, and histograms of scores and overlaps.

u: bins.
"""

from dataclasses import dataclass

import numpy as np

from efficientdet_pipeline.evaluation.average_precision import UNDEFINED
from efficientdet_pipeline.evaluation.instances import Instances
from efficientdet_pipeline.evaluation.matching import NOTHING, Matches

NUM_BINS = 15
MIN_SCORE = 0.05


@dataclass(frozen=True)
class Calibration:
    """Reliability of scores, in bins of equal width from 0 to 1."""

    edges: np.ndarray
    """(u + 1,) bin edges."""
    counts: np.ndarray
    """(u,) number of detections."""
    confidence: np.ndarray
    """(u,) mean score; NaN in an empty bin."""
    precision: np.ndarray
    """(u,) share of correct detections; NaN in an empty bin."""
    ece: float
    """Expected calibration error (Naeini et al., 2015): mean of |score - precision|; -1 without detections."""
    max_error: float
    """Maximum over the bins; -1 without detections."""


def calibration(
    instances: Instances,
    matches: Matches,
    *,
    num_bins: int = NUM_BINS,
    min_score: float = MIN_SCORE,
    level: int = 0,
) -> Calibration:
    """Returns the calibration of detections: precision by score.

    Args:
      instances: ground truth and detections.
      matches: of all detections.
      num_bins: 15 in the literature on calibration.
      min_score: detections with a lower score are left out: a detector returns hundreds of them, which dominate.
      level: index of the IoU threshold; the first is 0.5.
    """
    counts = ~matches.found_ignored[level] & (instances.found.scores >= min_score)
    counts &= np.isin(instances.found.class_ids, np.array(instances.class_ids, np.int64))
    scores, is_right = instances.found.scores[counts], matches.truth_rows[level, counts] != NOTHING
    edges = np.linspace(0, 1, num_bins + 1)
    bins = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, num_bins - 1)
    number, total, right = (
        np.bincount(bins, weights=weights, minlength=num_bins) for weights in (None, scores, is_right)
    )
    with np.errstate(invalid="ignore"):
        confidence, precision = total / number, right / number
    errors = np.abs(confidence - precision)
    is_filled = number > 0
    ece = float(np.sum(number[is_filled] * errors[is_filled]) / number.sum()) if is_filled.any() else UNDEFINED
    most = float(errors[is_filled].max()) if is_filled.any() else UNDEFINED
    return Calibration(edges, number.astype(np.int64), confidence, precision, ece, most)


@dataclass(frozen=True)
class Histograms:
    """Histograms of scores and overlaps in bins of equal width from 0 to 1."""

    edges: np.ndarray
    """(u + 1,) bin edges."""
    scores_right: np.ndarray
    """(u,) correct detections by score."""
    scores_wrong: np.ndarray
    """(u,) wrong detections by score."""
    overlaps: np.ndarray
    """(u,) detections above the threshold, by largest IoU with an object of their class."""


def histograms(
    instances: Instances, matches: Matches, *, threshold: float, num_bins: int = 20, level: int = 0
) -> Histograms:
    """Returns the histograms of scores, and of overlaps of the detections with a score of at least `threshold`."""
    edges = np.linspace(0, 1, num_bins + 1)
    counts = ~matches.found_ignored[level]
    counts &= np.isin(instances.found.class_ids, np.array(instances.class_ids, np.int64))
    is_right = matches.truth_rows[level] != NOTHING
    scores = instances.found.scores
    return Histograms(
        edges,
        np.histogram(scores[counts & is_right], edges)[0],
        np.histogram(scores[counts & ~is_right], edges)[0],
        np.histogram(matches.best_iou[counts & (scores >= threshold)], edges)[0],
    )
