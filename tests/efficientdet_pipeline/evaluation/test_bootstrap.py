"""Confidence intervals."""

from collections.abc import Callable

import numpy as np
import pytest

from efficientdet_pipeline.evaluation.average_precision import average_precision
from efficientdet_pipeline.evaluation.bootstrap import confidence_intervals, difference_intervals
from efficientdet_pipeline.evaluation.instances import Instances, flatten
from efficientdet_pipeline.evaluation.matching import match
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.results import ImageDetections

BOX = np.array([[0.0, 0, 10, 10]])


def drawn(rows: list[int], hits: list[bool]) -> Instances:
    """Returns images with one object each, found or not, by row."""
    truth = [TruthImage(str(number), BOX, np.array([1])) for number in range(len(rows))]
    scores = np.linspace(0.9, 0.1, len(hits))
    detected = [
        ImageDetections(BOX + (0 if hits[row] else 100), scores[[row]], np.array([1]), source_id=str(number))
        for number, row in enumerate(rows)
    ]
    return flatten(truth, detected, {1: "cat"})


def test_confidence_intervals_are_those_of_images_drawn_again() -> None:
    hits = [True, False, True, True, False, True]
    instances = drawn(list(range(6)), hits)
    intervals = confidence_intervals(instances, match(instances), num_draws=50, seed=3)
    draws = np.random.default_rng(3).integers(0, 6, (50, 6))
    values = [average_precision(each, match(each))[0] for each in (drawn(sorted(row), hits) for row in draws)]
    np.testing.assert_allclose(intervals.overall["AP50"], np.quantile(values, [0.025, 0.975]), atol=1e-6)
    assert intervals.per_class[1] == intervals.overall


def test_confidence_intervals_hold_the_number(fuzzed: Callable[[int], Instances]) -> None:
    for seed in range(5):
        instances = fuzzed(seed)
        matches = match(instances)
        low, high = confidence_intervals(instances, matches, num_draws=100).overall["AP"]
        ap = average_precision(instances, matches).mean()
        assert low - 0.05 <= ap <= high + 0.05
        assert confidence_intervals(instances, matches, num_draws=100).overall["AP"] == (low, high)


def test_confidence_intervals_of_nothing() -> None:
    empty = flatten([], [], {1: "cat"})
    assert confidence_intervals(empty, match(empty)).overall["AP"] == (-1, -1)
    instances = flatten([TruthImage("a", BOX, np.array([1]))], [], {1: "cat", 2: "dog"})
    intervals = confidence_intervals(instances, match(instances), num_draws=10)
    assert intervals.overall["AP50"] == (0, 0)
    assert intervals.per_class[2]["AP"] == (-1, -1)


@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_confidence_intervals_widen_with_confidence(confidence: float) -> None:
    instances = drawn(list(range(6)), [True, False] * 3)
    low, high = confidence_intervals(instances, match(instances), confidence=confidence).overall["AP50"]
    wider = confidence_intervals(instances, match(instances), confidence=0.99).overall["AP50"]
    assert wider.low <= low < high <= wider.high


def test_difference_intervals_draw_the_same_images_for_both() -> None:
    same = drawn(list(range(6)), [True, False] * 3)
    sides = (same, match(same))
    assert difference_intervals(sides, sides).overall["AP"] == (0, 0)
    better = drawn(list(range(6)), [True] * 6)
    low, high = difference_intervals(sides, (better, match(better))).overall["AP50"]
    assert 0 < low < high
    fewer = drawn(list(range(5)), [True] * 5)
    with pytest.raises(ValueError, match="Received 6 and 5 images"):
        difference_intervals(sides, (fewer, match(fewer)))
