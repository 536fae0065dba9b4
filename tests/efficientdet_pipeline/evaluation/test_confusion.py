"""Confusion matrix with background."""

from collections.abc import Callable

import numpy as np

from efficientdet_pipeline.evaluation.confusion import confusion_matrix
from efficientdet_pipeline.evaluation.curves import score_curves
from efficientdet_pipeline.evaluation.instances import Instances, flatten
from efficientdet_pipeline.evaluation.matching import match
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.results import ImageDetections

BOX, FAR, THIRD = [0.0, 0, 10, 10], [50.0, 50, 60, 60], [90.0, 0, 99, 20]


def test_confusion_matrix_by_hand() -> None:
    truth = [
        TruthImage("a", np.array([BOX, FAR, THIRD]), np.array([1, 2, 2])),
        TruthImage("b", np.array([BOX]), np.array([1]), np.array([True])),
    ]
    # A correct cat, a dog detected as a cat, a missed dog, a false positive, a detection in a crowd, a low score.
    detected = [
        ImageDetections(
            np.array([BOX, FAR, [200.0, 0, 220, 9]]), np.array([0.9, 0.8, 0.7]), np.array([1, 1, 2]), source_id="a"
        ),
        ImageDetections(np.array([BOX, FAR]), np.array([0.9, 0.1]), np.array([1, 1]), source_id="b"),
    ]
    instances = flatten(truth, detected, {1: "cat", 2: "dog"})
    matrix = confusion_matrix(instances, match(instances), threshold=0.3)
    assert matrix.counts.tolist() == [[1, 0, 0], [1, 0, 1], [0, 1, 0]]
    assert matrix.shares.tolist() == [[1, 0, 0], [0.5, 0, 0.5], [0, 1, 0]]
    assert matrix.most_confused() == [(2, 1, 1)]
    own = confusion_matrix(instances, match(instances), threshold=0.3, class_thresholds={1: 0.85})
    assert own.counts.tolist() == [[1, 0, 0], [0, 0, 2], [0, 1, 0]]


def test_confusion_matrix_sums_to_objects_and_detections(fuzzed: Callable[[int], Instances]) -> None:
    for seed in range(20):
        instances = fuzzed(seed)
        matches = match(instances)
        counts = confusion_matrix(instances, matches, threshold=0.4).counts
        for row, class_id in enumerate(instances.class_ids):
            is_there = (instances.truth.class_ids == class_id) & ~instances.truth.is_crowd
            is_shown = (instances.found.class_ids == class_id) & (instances.found.scores >= 0.4)
            assert counts[row].sum() == is_there.sum()
            assert counts[:, row].sum() == (is_shown & ~matches.found_ignored[0]).sum()
            curve = score_curves(instances, matches).get(class_id)
            if curve is not None:
                assert counts[row, row] == round(float(curve.at(np.array([0.4]))[1][0]) * is_there.sum())


def test_confusion_matrix_of_nothing() -> None:
    instances = flatten([], [], {1: "cat"})
    assert confusion_matrix(instances, match(instances), threshold=0.5).counts.tolist() == [[0, 0], [0, 0]]
