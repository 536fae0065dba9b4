"""Precision, recall and F1 by score threshold."""

import numpy as np
import pytest

from efficientdet_pipeline.evaluation.curves import best_overall, mean_f1, score_curves
from efficientdet_pipeline.evaluation.instances import Instances, flatten
from efficientdet_pipeline.evaluation.matching import match
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.results import ImageDetections

BOX, FAR = [0.0, 0, 10, 10], [50.0, 50, 60, 60]


def sample() -> Instances:
    """Returns two cats, found at 0.9 and at 0.4, with false positives at 0.6, 0.4 and 0.1; a dog found at 0.2."""
    truth = [
        TruthImage("a", np.array([BOX, FAR]), np.array([1, 1])),
        TruthImage("b", np.array([BOX]), np.array([2])),
    ]
    wrong = [200.0, 200, 210, 210]
    boxes = np.array([BOX, wrong, FAR, wrong, wrong])
    detected = [
        ImageDetections(boxes, np.array([0.9, 0.6, 0.4, 0.4, 0.1]), np.ones(5, int), source_id="a"),
        ImageDetections(np.array([BOX]), np.array([0.2]), np.array([2]), source_id="b"),
    ]
    return flatten(truth, detected, {1: "cat", 2: "dog", 3: "eel"})


def test_score_curves_by_hand() -> None:
    instances = sample()
    curves = score_curves(instances, match(instances))
    assert set(curves) == {1, 2}
    cat = curves[1]
    # The two detections with score 0.4 share a threshold.
    np.testing.assert_allclose(cat.thresholds, [0.9, 0.6, 0.4, 0.1])
    np.testing.assert_allclose(cat.precision, [1, 1 / 2, 2 / 4, 2 / 5])
    np.testing.assert_allclose(cat.recall, [0.5, 0.5, 1, 1])
    np.testing.assert_allclose(cat.f1, [2 / 3, 1 / 2, 2 / 3, 4 / 7])
    assert cat.best is not None
    assert (cat.best.threshold, cat.best.recall) == (0.9, 0.5)
    precision, recall, f1 = cat.at(np.array([0.95, 0.9, 0.5, 0.0]))
    np.testing.assert_allclose(precision, [np.nan, 1, 0.5, 0.4])
    np.testing.assert_allclose(recall, [0, 0.5, 0.5, 1])
    np.testing.assert_allclose(f1, [0, 2 / 3, 0.5, 4 / 7])


def test_best_overall_averages_classes() -> None:
    instances = sample()
    curves = score_curves(instances, match(instances))
    best = best_overall(curves)
    assert best is not None
    # At 0.2 the dog is found; the cats' F1 stays at 2/3.
    assert best.threshold == pytest.approx(0.2)
    assert best.f1 == pytest.approx((2 / 3 + 1) / 2)
    assert best.recall == 1
    assert mean_f1(list(curves.values()), np.array([0.2]))[0] == best.f1


def test_curves_of_nothing_right_have_no_best_point() -> None:
    truth = [TruthImage("a", np.array([BOX]), np.array([1]))]
    for boxes in ([], [FAR]):
        detected = [
            ImageDetections(
                np.reshape(boxes, (-1, 4)), np.full(len(boxes), 0.5), np.ones(len(boxes), int), source_id="a"
            )
        ]
        instances = flatten(truth, detected, {})
        curves = score_curves(instances, match(instances))
        assert curves[1].best is None
        assert best_overall(curves) is None
        assert curves[1].at(np.array([0.9]))[1].tolist() == [0]
    assert best_overall({}) is None
