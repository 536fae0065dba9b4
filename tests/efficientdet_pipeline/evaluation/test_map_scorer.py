"""Mean IoU of the segmentation head on the canvas."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tiny_network import tiny_config

from efficientdet_pipeline.data.box_map_batches import BoxMapImage
from efficientdet_pipeline.evaluation import map_scorer
from efficientdet_pipeline.evaluation.evaluator import Evaluator
from efficientdet_pipeline.evaluation.ground_truth import GroundTruth
from efficientdet_pipeline.evaluation.map_scorer import MapScorer, score_maps

CONFIG = tiny_config(heads=["object_detection", "segmentation"], seg_num_classes=3)


def test_map_scorer_compares_on_the_canvas_and_joins_class_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = np.zeros((64, 64), np.uint8)
    truth[:, 32:], truth[48:] = 7, 255
    images = [BoxMapImage(tf.zeros((1, 64, 64, 3)), tf.constant(truth))]
    monkeypatch.setattr(map_scorer, "evaluation_box_map_images", lambda *_, **__: images)

    def model(image: Any, training: bool) -> dict[str, Any]:
        assert not training
        columns = tf.one_hot([0] * 8 + [2] * 8, 3)
        return {"segmentation": 5.0 * tf.tile(columns[None, None], [1, 16, 1, 1])}

    perfect = MapScorer(model, CONFIG, ["x"], class_ids={7: 2})()
    assert perfect == {"mIoU": 1.0, "pixel_accuracy": 1.0}
    wrong = MapScorer(model, CONFIG, ["x"], class_ids={7: 1})()
    assert wrong["pixel_accuracy"] == 0.5
    assert wrong["mIoU"] == pytest.approx(1 / 3)


def test_score_maps_measures_a_checkpoint_with_maps_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_scorer, "MapScorer", lambda *_, **__: lambda: {"mIoU": 0.5, "pixel_accuracy": 0.75})
    evaluator = Evaluator.__new__(Evaluator)
    evaluator.detector, evaluator.config, evaluator.truth = None, CONFIG, GroundTruth(files=("x",))
    monkeypatch.setattr(map_scorer, "has_masks", lambda files: True)
    assert score_maps(evaluator) == {"mIoU": 0.5, "pixel_accuracy": 0.75}
    monkeypatch.setattr(map_scorer, "has_masks", lambda files: False)
    assert score_maps(evaluator) == {}
    evaluator.config = tiny_config()
    assert score_maps(evaluator) == score_maps(object()) == {}
