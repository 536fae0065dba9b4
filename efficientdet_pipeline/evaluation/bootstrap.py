"""Confidence intervals of average precision by bootstrap over images.

b: bootstrap samples, t: IoU thresholds, d: detections of a class.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from efficientdet_pipeline.evaluation.average_precision import RECALLS, UNDEFINED, RankedClass, ranked_class
from efficientdet_pipeline.evaluation.instances import Instances
from efficientdet_pipeline.evaluation.matching import Matches

NUM_DRAWS = 200
CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A confidence interval; both bounds -1 for an undefined metric."""

    low: float
    high: float


class Intervals(NamedTuple):
    """Intervals of AP and AP50."""

    overall: Mapping[str, Interval]
    """{"AP": …, "AP50": …}."""
    per_class: Mapping[int, Mapping[str, Interval]]
    """{class id: {"AP": …, "AP50": …}}."""


def confidence_intervals(
    instances: Instances,
    matches: Matches,
    *,
    num_draws: int = NUM_DRAWS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Intervals:
    """Returns percentile intervals of AP and AP50, over all classes and per class.

    Each sample has as many images as the data, drawn with replacement (Efron, 1979). An image drawn twice counts twice.

    Args:
      instances: ground truth and detections.
      matches: at COCO's ten thresholds.
      num_draws: number of samples; 200 determine the width of an interval to two digits.
      confidence: share of the samples inside the interval.
      seed: the same seed gives the same intervals.
    """
    overall, per_class = _all_drawn(instances, matches, _draws(len(instances.source_ids), num_draws, seed))
    return Intervals(
        _named(overall, confidence), {class_id: _named(each, confidence) for class_id, each in per_class.items()}
    )


def difference_intervals(
    baseline: tuple[Instances, Matches],
    other: tuple[Instances, Matches],
    *,
    num_draws: int = NUM_DRAWS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Intervals:
    """Returns percentile intervals of the differences of AP and AP50, other minus baseline.

    Both are evaluated on the same samples, so that images difficult for both do not widen the interval. A class that
    one of them lacks is missing.

    Args:
      baseline: ground truth and detections of an evaluation, and their matches at COCO's ten thresholds.
      other: the same of another detector on the same images.
      num_draws: as in `confidence_intervals`.
      confidence: as in `confidence_intervals`.
      seed: as in `confidence_intervals`.

    Raises:
      ValueError: the two have different images.
    """
    if baseline[0].source_ids != other[0].source_ids:
        raise ValueError(
            f"Both evaluations must have the same images. Received {len(baseline[0].source_ids)} and "
            f"{len(other[0].source_ids)} images, which differ."
        )
    draws = _draws(len(baseline[0].source_ids), num_draws, seed)
    (overall, per_class), (other_overall, other_per_class) = (_all_drawn(*each, draws) for each in (baseline, other))
    return Intervals(
        _named(other_overall - overall, confidence),
        {
            class_id: _named(other_per_class[class_id] - per_class[class_id], confidence)
            for class_id in per_class
            if class_id in other_per_class
        },
    )


def _draws(num_images: int, num_draws: int, seed: int) -> np.ndarray:
    """Returns (b, images): how often each image occurs in each sample."""
    if not num_images:
        return np.zeros((num_draws, 0), np.int64)
    draws = np.random.default_rng(seed).integers(0, num_images, (num_draws, num_images))
    return np.stack([np.bincount(row, minlength=num_images) for row in draws])


def _all_drawn(instances: Instances, matches: Matches, counts: np.ndarray) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Returns (b, t) mean average precision of each sample, and the same per class."""
    precision = {
        class_id: _drawn_precision(instances, ranked_class(instances, matches, class_id), counts)
        for class_id in instances.class_ids
    }
    measured = [each for each in precision.values() if not np.isnan(each).all()]
    nothing = np.full((len(counts), len(matches.thresholds)), np.nan)
    return (_mean_of_classes(np.stack(measured)) if measured else nothing), precision


def _drawn_precision(instances: Instances, ranked: RankedClass, counts: np.ndarray) -> np.ndarray:
    """Returns (b, t) average precision of a class in each sample; NaN in a sample without its objects."""
    num_truths = counts[:, instances.truth.images[ranked.truth_rows]].sum(axis=1)
    result = np.full((len(counts), len(ranked.is_right)), np.nan)
    drawn = np.flatnonzero(num_truths)
    if not len(drawn):
        return result
    weights = counts[drawn][:, instances.found.images[ranked.rows]].astype(np.int32)
    counted, seen_all = np.zeros(0, bool), weights
    for level, (is_right, is_wrong) in enumerate(zip(ranked.is_right, ranked.is_wrong, strict=True)):
        # Without crowds the same detections count at every threshold.
        if level == 0 or not np.array_equal(counted, is_right | is_wrong):
            counted = is_right | is_wrong
            seen_all = np.cumsum(weights * counted, axis=1, dtype=np.int32)
        # Precision peaks at correct detections; between them it only decreases.
        right = np.cumsum(weights[:, is_right], axis=1)
        seen = np.maximum(seen_all[:, is_right], 1)
        envelope = np.maximum.accumulate((right / seen)[:, ::-1], axis=1)[:, ::-1]
        padded = np.concatenate([envelope, np.zeros((len(drawn), 1))], axis=1)
        places = _first_reaching(right / num_truths[drawn, None])
        result[drawn, level] = np.take_along_axis(padded, places, axis=1).mean(axis=1)
    return result


def _first_reaching(recall: np.ndarray) -> np.ndarray:
    """Returns (b, 101): the first column in each row of `recall` (b, d) that reaches each of COCO's recalls."""
    # An offset per row makes the rows disjoint ranges, so that one search serves all.
    num_rows, num_columns = recall.shape
    offsets = 2.0 * np.arange(num_rows)[:, None]
    # The sum drops digits that recalls of exactly k/100 need; the searched recalls are rounded in the same way.
    places = np.searchsorted((recall + offsets).ravel(), (RECALLS[None] - 1e-9 + offsets).ravel(), side="left")
    columns = places.reshape(num_rows, -1) - num_columns * np.arange(num_rows)[:, None]
    return np.clip(columns, 0, num_columns)


def _mean_of_classes(precision: np.ndarray) -> np.ndarray:
    """Returns (b, t) means over the classes (k, b, t) present in a sample; NaN without any."""
    is_there = ~np.isnan(precision)
    number = is_there.sum(axis=0)
    total = np.where(is_there, precision, 0.0).sum(axis=0)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _named(precision: np.ndarray, confidence: float) -> dict[str, Interval]:
    return {"AP": _interval(precision.mean(axis=1), confidence), "AP50": _interval(precision[:, 0], confidence)}


def _interval(values: np.ndarray, confidence: float) -> Interval:
    values = values[~np.isnan(values)]
    if not len(values):
        return Interval(UNDEFINED, UNDEFINED)
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))
