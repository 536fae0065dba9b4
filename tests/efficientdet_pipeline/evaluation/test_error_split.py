"""TIDE's error analysis, computed by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from efficientdet_pipeline.evaluation.error_split import DESCRIPTIONS, KINDS, ErrorKind, error_split
from efficientdet_pipeline.evaluation.instances import Instances, flatten
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.results import ImageDetections

BOX, FAR, BESIDE = [0.0, 0, 10, 10], [50.0, 50, 60, 60], [0.0, 0, 10, 30]


def split(truth: list, found: list, **marks: object):
    """Returns the error analysis of one image; boxes are followed by their class, detections also by their score."""
    true = TruthImage("a", np.array([box for box, _ in truth]).reshape(-1, 4), np.array([c for _, c in truth]), **marks)
    boxes = np.array([box for box, _, _ in found]).reshape(-1, 4)
    scores, class_ids = np.array([s for _, _, s in found]), np.array([c for _, c, _ in found], int)
    return error_split(flatten([true], [ImageDetections(boxes, scores, class_ids, source_id="a")], {}))


@pytest.mark.parametrize(
    ("truth", "found", "kind", "cost"),
    [
        # Corrected, the class is correct.
        ([(BOX, 1)], [(BOX, 2, 0.9)], ErrorKind.CLASSIFICATION, 100),
        # IoU 1/3: corrected, the box is accurate.
        ([(BOX, 1)], [(BESIDE, 1, 0.9)], ErrorKind.LOCALIZATION, 100),
        # IoU 1/3 with another class: the detection is removed, and the object stays missing.
        ([(BOX, 1)], [(BESIDE, 2, 0.9)], ErrorKind.BOTH, 0),
        # The second on one object, scored above the other object's: precision 1, 2/3 becomes 1, 1.
        ([(BOX, 1), (FAR, 1)], [(BOX, 1, 0.9), (BOX, 1, 0.8), (FAR, 1, 0.7)], ErrorKind.DUPLICATE, 100 * 50 / 101 / 3),
        ([(BOX, 1)], [(FAR, 1, 0.9), (BOX, 1, 0.8)], ErrorKind.BACKGROUND, 50),
        ([(BOX, 1), (FAR, 1)], [(BOX, 1, 0.9)], ErrorKind.MISSED, 100 * 50 / 101),
    ],
)
def test_error_split_of_one_kind(truth: list, found: list, kind: ErrorKind, cost: float) -> None:
    result = split(truth, found)
    assert result.counts[kind] == 1
    assert result.costs[kind] == pytest.approx(cost)


def test_error_split_names_the_boxes() -> None:
    errors = split([(BOX, 1), (FAR, 2)], [(BESIDE, 1, 0.9), ([300.0, 300, 310, 310], 1, 0.95)]).errors
    named = list(zip((KINDS[k] for k in errors.kinds), errors.found.tolist(), errors.truth.tolist(), strict=True))
    assert named == [
        (ErrorKind.BACKGROUND, 1, -1),
        (ErrorKind.LOCALIZATION, 0, 0),
        (ErrorKind.MISSED, -1, 1),
    ]
    assert set(DESCRIPTIONS) == set(KINDS)


def test_error_split_corrects_the_best_rival_of_an_object_alone() -> None:
    # Two boxes near one object: one becomes correct, the other is removed.
    result = split([(BOX, 1)], [(BESIDE, 1, 0.9), (BESIDE, 1, 0.8)])
    assert result.counts[ErrorKind.LOCALIZATION] == 2
    assert result.costs[ErrorKind.LOCALIZATION] == pytest.approx(100)


def test_error_split_leaves_crowds_out() -> None:
    result = split([(BOX, 1), (FAR, 1)], [(BOX, 1, 0.9), (FAR, 1, 0.95)], is_crowd=np.array([False, True]))
    assert result.ap50 == pytest.approx(100)
    assert result.false_positives == result.false_negatives == 0


def test_error_split_of_false_positives_and_negatives() -> None:
    result = split([(BOX, 1), (FAR, 1)], [([300.0, 0, 310, 10], 1, 0.9), (BOX, 1, 0.8)])
    # One of two objects, after a false positive: precision 1/2 up to a recall of 1/2.
    assert result.ap50 == pytest.approx(100 * 51 / 101 / 2)
    assert result.false_positives == pytest.approx(100 * 51 / 101 / 2)
    assert result.false_negatives == pytest.approx(50 - result.ap50)


def test_error_split_takes_what_is_empty() -> None:
    assert error_split(flatten([], [], {1: "cat"})).ap50 == 0
    assert split([(BOX, 1)], []).costs[ErrorKind.MISSED] == 0
    assert split([], [(BOX, 1, 0.5)]).counts[ErrorKind.BACKGROUND] == 1


def test_error_split_counts_every_wrong_detection_once(fuzzed: Callable[[int], Instances]) -> None:
    for seed in range(20):
        instances = fuzzed(seed)
        result = error_split(instances)
        found = result.errors.found[result.errors.found >= 0]
        assert len(np.unique(found)) == len(found)
        assert all(cost >= 0 for cost in result.costs.values())
