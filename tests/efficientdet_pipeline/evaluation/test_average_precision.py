"""Average precision from correct and wrong detections."""

import numpy as np
import pytest

from efficientdet_pipeline.evaluation.average_precision import (
    average_precision,
    class_precision,
    interpolated_precision,
)
from efficientdet_pipeline.evaluation.instances import flatten
from efficientdet_pipeline.evaluation.matching import match
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.results import ImageDetections


def test_interpolated_precision_by_hand() -> None:
    # Correct, wrong, correct, with three objects: precision 1 up to a recall of 1/3, 2/3 up to 2/3, then 0.
    is_right = np.array([[True, False, True]])
    precision = interpolated_precision(is_right, ~is_right, 3)[0]
    assert precision[:34].tolist() == pytest.approx([1] * 34)
    assert precision[34:67].tolist() == pytest.approx([2 / 3] * 33)
    assert not precision[67:].any()


def test_average_precision_leaves_absent_classes_out() -> None:
    box = np.array([[0.0, 0, 10, 10]])
    truth = [TruthImage("a", box, np.array([1]))]
    detected = [ImageDetections(np.repeat(box, 2, axis=0), np.array([0.9, 0.8]), np.array([1, 2]), source_id="a")]
    instances = flatten(truth, detected, {1: "cat", 2: "dog"})
    matches = match(instances)
    assert class_precision(instances, matches, 2) is None
    np.testing.assert_allclose(average_precision(instances, matches), 1)
