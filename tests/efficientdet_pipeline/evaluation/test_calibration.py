"""Calibration of scores, and histograms."""

import numpy as np
import pytest

from efficientdet_pipeline.evaluation.calibration import calibration, histograms
from efficientdet_pipeline.evaluation.instances import Instances, flatten
from efficientdet_pipeline.evaluation.matching import match
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.results import ImageDetections

BOX, FAR = [0.0, 0, 10, 10], [500.0, 0, 510, 10]


def images(num_right: int, num_wrong: int, score: float) -> Instances:
    truth = [TruthImage(str(n), np.array([BOX]), np.array([1])) for n in range(num_right + num_wrong)]
    detected = [
        ImageDetections(np.array([BOX if n < num_right else FAR]), np.array([score]), np.array([1]), source_id=str(n))
        for n in range(num_right + num_wrong)
    ]
    return flatten(truth, detected, {1: "cat"})


def test_calibration_is_the_distance_of_score_and_precision() -> None:
    instances = images(3, 7, 0.9)
    result = calibration(instances, match(instances), num_bins=10)
    assert result.ece == pytest.approx(0.6)
    assert result.max_error == pytest.approx(0.6)
    assert result.counts.tolist() == [0] * 9 + [10]
    assert result.precision[9] == pytest.approx(0.3)
    assert np.isnan(result.confidence[:9]).all()
    perfect = images(10, 0, 1.0)
    assert calibration(perfect, match(perfect)).ece == 0


def test_calibration_leaves_weak_detections_out() -> None:
    instances = images(1, 1, 0.04)
    result = calibration(instances, match(instances))
    assert (result.ece, result.counts.sum()) == (-1, 0)


def test_histograms_count_right_and_wrong() -> None:
    instances = images(3, 7, 0.72)
    result = histograms(instances, match(instances), threshold=0.5, num_bins=10)
    assert result.scores_right[7] == result.scores_right.sum() == 3
    assert result.scores_wrong[7] == result.scores_wrong.sum() == 7
    assert (result.overlaps[-1], result.overlaps[0]) == (3, 7)
    assert histograms(instances, match(instances), threshold=0.8).overlaps.sum() == 0
