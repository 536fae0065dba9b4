"""Average precision from matches, with the interpolation of COCO.

t: IoU thresholds, n: ground-truth boxes, d: detections, r: the 101 recalls.
"""

from typing import Final, NamedTuple

import numpy as np

from efficientdet_pipeline.evaluation.instances import Instances
from efficientdet_pipeline.evaluation.matching import NOTHING, Matches

RECALLS: Final = np.linspace(0.0, 1.0, 101)
UNDEFINED = -1.0
"""COCO's value of an undefined metric, for example APl without large objects."""


class RankedClass(NamedTuple):
    """Detections of one class over all images, best first."""

    rows: np.ndarray
    """(d,) indices in `Instances.found`."""
    is_right: np.ndarray
    """(t, d): matched with an object that is not ignored."""
    is_wrong: np.ndarray
    """(t, d): neither matched nor ignored."""
    truth_rows: np.ndarray
    """(n,) indices in `Instances.truth` of the objects that are not ignored."""


def ranked_class(instances: Instances, matches: Matches, class_id: int) -> RankedClass:
    """Returns the detections of a class by descending score; on ties the earlier image comes first."""
    rows = instances.found_rows(class_id)
    counts = ~matches.found_ignored[:, rows]
    is_matched = matches.truth_rows[:, rows] != NOTHING
    objects = instances.truth_rows(class_id)
    return RankedClass(rows, is_matched & counts, ~is_matched & counts, objects[~matches.truth_ignored[objects]])


def interpolated_precision(is_right: np.ndarray, is_wrong: np.ndarray, num_truths: int) -> np.ndarray:
    """Returns (t, r): the maximum precision at each recall or a higher one; 0 at recalls that are not reached.

    Args:
      is_right: (t, d), detections by descending score.
      is_wrong: (t, d).
      num_truths: number of objects, 1 or more.
    """
    right, wrong = (np.cumsum(each, axis=1, dtype=np.float64) for each in (is_right, is_wrong))
    recall, precision = right / num_truths, right / (right + wrong + np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    padded = np.concatenate([envelope, np.zeros((len(envelope), 1))], axis=1)
    places = np.stack([np.searchsorted(row, RECALLS, side="left") for row in recall])
    return np.take_along_axis(padded, places, axis=1)


def class_precision(instances: Instances, matches: Matches, class_id: int) -> np.ndarray | None:
    """Returns (t,) average precision of a class at each threshold; None without objects that count."""
    ranked = ranked_class(instances, matches, class_id)
    if not len(ranked.truth_rows):
        return None
    return interpolated_precision(ranked.is_right, ranked.is_wrong, len(ranked.truth_rows)).mean(axis=1)


def average_precision(instances: Instances, matches: Matches) -> np.ndarray:
    """Returns (t,) mean average precision over the classes with objects; -1 without any."""
    each = [class_precision(instances, matches, class_id) for class_id in instances.class_ids]
    measured = [values for values in each if values is not None]
    return np.mean(measured, axis=0) if measured else np.full(len(matches.thresholds), UNDEFINED)
