"""Evaluator: the confidence interval of its latest evaluation."""

import numpy as np
import pytest

from efficientdet_pipeline.evaluation import evaluator as module
from efficientdet_pipeline.evaluation.bootstrap import confidence_intervals
from efficientdet_pipeline.evaluation.evaluator import Evaluator
from efficientdet_pipeline.evaluation.instances import flatten
from efficientdet_pipeline.evaluation.kept_detections import KeptDetections
from efficientdet_pipeline.evaluation.matching import match
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.results import ImageDetections

BOX = np.array([[0.0, 0, 40, 40]])
TRUTH = [TruthImage(name, BOX, np.array([1])) for name in "abcdefghijkl"]
DETECTED = [ImageDetections(BOX, np.array([0.9]), np.array([1]), source_id=name) for name in "abcdef"]


def evaluated(truth: list[TruthImage], detected: list[ImageDetections]) -> Evaluator:
    """Returns an evaluator with these detections as its latest evaluation; it has no network."""
    evaluator = object.__new__(Evaluator)
    evaluator.label_map = {1: "cat"}
    evaluator.kept = KeptDetections(latest=(truth, detected))
    return evaluator


def test_evaluator_interval_is_that_of_the_report() -> None:
    found = evaluated(TRUTH, DETECTED).interval()
    instances = flatten(TRUTH, DETECTED, {1: "cat"})
    assert found == tuple(confidence_intervals(instances, match(instances)).overall["AP"])
    assert found is not None
    assert 0 < found[0] < 0.5 < found[1] < 1


def test_evaluator_interval_is_left_out_where_it_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert evaluated([], []).interval() is None
    assert evaluated(TRUTH[: module.FEWEST_DRAWN - 1], DETECTED).interval() is None
    # There are no detections, or no objects.
    assert evaluated(TRUTH, []).interval() is None
    nothing = [TruthImage(image.source_id, np.zeros((0, 4)), np.zeros(0, np.int64)) for image in TRUTH]
    assert evaluated(nothing, []).interval() is None
    monkeypatch.setattr(module, "MOST_DRAWN", len(TRUTH) - 1)
    assert evaluated(TRUTH, DETECTED).interval() is None
