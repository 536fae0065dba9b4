"""Detections of one image, and the files of many."""

import numpy as np
import pytest
from efficientdet.types import Detections

from efficientdet_pipeline.inference.results import ImageDetections, describe_no_detections, per_image

FOUND = ImageDetections(
    np.array([[1.0, 2.0, 3.0004, 4.0], [5.0, 6.0, 7.0, 8.0]]), np.array([0.9, 0.3]), np.array([2, 7])
)


def test_results_padding_is_cut_off() -> None:
    batch = Detections(
        np.zeros((2, 3, 4), np.float32),
        np.zeros((2, 3), np.float32),
        np.full((2, 3), 2.0, np.float32),
        np.array([0, 2]),
    )
    empty, two = per_image(batch)
    assert (empty.boxes.shape, two.boxes.shape) == ((0, 4), (2, 4))
    assert two.class_ids.tolist() == [2, 2]
    assert two.class_ids.dtype == np.int64


def test_results_low_scores_can_be_left_out() -> None:
    assert FOUND.above(0.3).class_ids.tolist() == [2, 7]
    assert FOUND.above(0.31).class_ids.tolist() == [2]


def test_results_classes_can_be_chosen() -> None:
    assert FOUND.of_classes({7}).scores.tolist() == [0.3]
    assert FOUND.of_classes({1}).scores.tolist() == []


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (0.334, "nothing found above 0.4 (best: cat 0.33)"),
        (0.399, "nothing found above 0.4 (best: cat 0.39)"),
        (None, "nothing found at any score"),
    ],
)
def test_results_nothing_above_the_threshold_has_the_best_score_below(score: float | None, words: str) -> None:
    scores = np.array([score, 0.1] if score else [])
    found = ImageDetections(np.zeros((len(scores), 4)), scores, np.arange(1, len(scores) + 1))
    assert describe_no_detections(found, 0.4, {1: "cat"}) == words
