"""Metrics by name."""

import json

import numpy as np
import pytest

from efficientdet_pipeline.evaluation.coco import METRIC_NAMES, coco_metrics
from efficientdet_pipeline.evaluation.metrics import Metrics, detection_metrics
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.results import ImageDetections

BOX = np.array([[0.0, 0, 40, 40]])


def test_metrics_follow_their_primary_number() -> None:
    metrics = Metrics({"AP": 0.25, "AP50": 0.5}, "AP50")
    assert metrics.primary_value == 0.5
    with pytest.raises(ValueError, match=r"primary must be one of AP\. Received 'mIoU'"):
        Metrics({"AP": 0.25}, "mIoU")


def test_metrics_are_those_of_both_standards() -> None:
    truth = [
        TruthImage("a", BOX, np.array([1])),
        TruthImage("b", BOX, np.array([1]), is_difficult=np.array([True])),
        TruthImage("c", BOX, np.array([2]), is_crowd=np.array([True])),
    ]
    detected = [ImageDetections(BOX, np.array([0.9]), np.array([1]), source_id="a")]
    metrics = detection_metrics(truth, detected, {1: "cat", 2: "dog"})
    coco = coco_metrics(truth, detected, {1: "cat", 2: "dog"})
    assert {name: metrics.values[name] for name in METRIC_NAMES} == {name: coco[name] for name in METRIC_NAMES}
    # COCO counts the difficult object as missed, VOC ignores it.
    assert metrics.values["AP50"] == pytest.approx(51 / 101)
    assert metrics.values["VOC07_AP50"] == metrics.values["VOC12_AP50"] == 1
    assert metrics.per_class["VOC12_AP50"] == {"cat": 1, "dog": -1}
    assert metrics.per_class["AP"]["dog"] == -1


def test_metrics_come_back_from_a_file() -> None:
    truth, detected = (
        [TruthImage("a", BOX, np.array([1]))],
        [ImageDetections(BOX, np.array([0.9]), np.array([1]), source_id="a")],
    )
    metrics = detection_metrics(truth, detected, {1: "cat"})
    content = json.loads(json.dumps({"epoch": 3, **metrics.as_dict(), "checkpoint": "x"}))
    assert content["per_class"] == {"cat": pytest.approx(1)}
    assert Metrics.from_dict(content) == metrics


def test_metrics_keep_their_interval_in_a_file() -> None:
    metrics = Metrics({"AP": 0.25}, "AP", interval=(0.125, 0.5))
    content = json.loads(json.dumps(metrics.as_dict()))
    assert content == {"AP": 0.25, "AP_interval": [0.125, 0.5]}
    assert Metrics.from_dict(content).interval == (0.125, 0.5)
    assert "AP_interval" not in Metrics({"AP": 0.25}, "AP").as_dict()
