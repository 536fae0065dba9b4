"""Analysis of an evaluation: all results."""

from collections.abc import Callable

import numpy as np
import pytest

from efficientdet_pipeline.evaluation.analysis import DEFAULT_THRESHOLD, analyse
from efficientdet_pipeline.evaluation.instances import Instances, flatten
from efficientdet_pipeline.evaluation.truth import TruthImage


def test_analyse_shows_detections_from_the_best_threshold(fuzzed: Callable[[int], Instances]) -> None:
    instances = fuzzed(5)
    analysis = analyse(instances, {1: "cat"}, num_draws=10)
    assert analysis.point is not None
    assert analysis.threshold == analysis.point.threshold
    assert analysis.names[1] == "cat"
    assert set(analysis.metrics.per_class["AP"]) == set(analysis.names.values())
    low, high = analysis.intervals.overall["AP"]
    assert low <= high
    assert analyse(instances, {}, threshold=0.7, num_draws=5).threshold == 0.7


def test_analyse_takes_what_is_empty() -> None:
    truth = [TruthImage("a", np.array([[0.0, 0, 9, 9]]), np.array([1]))]
    nothing_found = analyse(flatten(truth, [], {}), {}, num_draws=5)
    assert (nothing_found.threshold, nothing_found.metrics.values["AP"]) == (DEFAULT_THRESHOLD, 0)
    assert analyse(flatten([], [], {}), {}, num_draws=5).metrics.values["AP"] == pytest.approx(-1)
