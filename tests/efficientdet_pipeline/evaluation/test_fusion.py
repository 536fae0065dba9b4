"""Weighted boxes fusion."""

import numpy as np
import pytest

from efficientdet_pipeline.evaluation.fusion import fuse_boxes, fuse_detections
from efficientdet_pipeline.inference.results import ImageDetections


def test_fuse_boxes_averages_by_score() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [0, 0, 10, 12], [50, 50, 60, 60]])
    fused, scores = fuse_boxes(boxes, np.array([0.9, 0.3, 0.6]), num_models=2)
    np.testing.assert_allclose(fused, [[0, 0, 10, 10.5], [50, 50, 60, 60]])
    # Two models agree on the first: the mean of their scores. One of two models has the second: half its score.
    np.testing.assert_allclose(scores, [0.6, 0.3])


def test_fuse_boxes_joins_the_nearest_cluster() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [0, 0, 10, 20], [0, 0, 10, 19]])
    fused, scores = fuse_boxes(boxes, np.array([0.5, 0.5, 0.5]), num_models=1)
    np.testing.assert_allclose(fused, [[0, 0, 10, 10], [0, 0, 10, 19.5]])
    np.testing.assert_allclose(scores, [0.5, 0.5])
    # The share of models is at most 1, even with more boxes than models.
    assert fuse_boxes(boxes[:1].repeat(3, 0), np.full(3, 0.4), num_models=2)[1] == pytest.approx([0.4])


def test_fuse_boxes_of_score_zero_and_of_nothing() -> None:
    fused, scores = fuse_boxes(np.array([[0.0, 0, 10, 10]] * 2), np.zeros(2), num_models=2)
    assert (fused.tolist(), scores.tolist()) == ([[0, 0, 10, 10]], [0])
    assert fuse_boxes(np.zeros((0, 4)), np.zeros(0), num_models=2)[0].shape == (0, 4)


def test_fuse_detections_keeps_classes_apart_and_sorts() -> None:
    box = np.array([[0.0, 0, 10, 10]])
    one = ImageDetections(box, np.array([0.4]), np.array([2]), source_id="7")
    other = ImageDetections(np.repeat(box, 2, axis=0), np.array([0.6, 0.9]), np.array([2, 1]), source_id="7")
    fused = fuse_detections([one, other])
    assert fused.source_id == "7"
    assert fused.class_ids.tolist() == [2, 1]
    np.testing.assert_allclose(fused.scores, [0.5, 0.45])
    with pytest.raises(ValueError, match="Received those of 2 images"):
        fuse_detections([one, one._replace(source_id="8")])
    assert (
        len(fuse_detections([ImageDetections(np.zeros((0, 4)), np.zeros(0), np.zeros(0), source_id="7")]).scores) == 0
    )
