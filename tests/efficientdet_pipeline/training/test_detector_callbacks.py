"""Callbacks compute COCO's average precision and draw, with the network in inference mode."""

import json
from pathlib import Path

import efficientdet
import keras
import numpy as np
import pytest
import tensorflow as tf
from efficientdet.heads.head_interface import Candidates
from efficientdet.types import Detections
from PIL import Image

from efficientdet_pipeline.errors import DataError, OptionsError
from efficientdet_pipeline.training.detector_callbacks import (
    CocoCallback,
    DrawCallback,
    detection_rows,
    predict_detections,
)

BOXES = np.float32([[[8, 8, 40, 40], [0, 0, 0, 0]], [[0, 0, 0, 0], [0, 0, 0, 0]], [[4, 20, 60, 50], [10, 2, 30, 18]]])
LABELS = np.int32([[[1], [-1]], [[-1], [-1]], [[0], [1]]])
MASK = np.int32([[[1], [0]], [[0], [0]], [[1], [1]]])


def dataset(batch_size: int = 2) -> tf.data.Dataset:
    """Returns three images, the last batch partial."""
    images = np.random.RandomState(0).normal(size=(3, 64, 64, 3)).astype(np.float32)
    samples = {"image": images, "bboxes": BOXES, "labels": LABELS, "mask": MASK}
    return tf.data.Dataset.from_tensor_slices(samples).batch(batch_size)


@pytest.fixture(scope="module")
def detector() -> keras.Model:
    return efficientdet.build_detector(
        {
            "image_size": 64,
            "backbone": "efficientnet-lite0",
            "neck": {"name": "bifpn", "filters": 16, "repeats": 1, "max_level": 5},
            "head": {"name": "anchor_free", "num_classes": 2, "filters": 16, "num_heads": 1},
        }
    )


class Oracle:
    """A detector that returns the ground truth."""

    num_classes = 2
    normalization = ((100.0,) * 3, (10.0,) * 3)

    def __init__(self) -> None:
        self.nms_configs = {"mode": "global", "method": "hard", "iou_thresh": 0.5, "score_thresh": 0.1}
        self.calls: list[bool] = []
        self.place = 0

    def __call__(self, images: np.ndarray, training: bool) -> int:
        self.calls.append(training)
        return len(images)

    def decode(self, count: int) -> Candidates:
        rows = slice(self.place, self.place + count)
        self.place = (self.place + count) % 3
        scores = 0.9 * np.eye(2, dtype=np.float32)[np.maximum(LABELS[rows, :, 0], 0)] * MASK[rows]
        return Candidates(BOXES[rows], np.float32(scores))


def test_coco_callback_of_perfect_detections_is_one(tmp_path: Path) -> None:
    callback, logs = CocoCallback(dataset(), log_dir=tmp_path, class_names=["a", "b"]), {"loss": 1.0}
    callback.set_model(oracle := Oracle())
    callback.on_epoch_end(4, logs)
    content = json.loads((tmp_path / "epoch_coco_5.json").read_text())
    assert content["map_slice_0.5:0.05:0.95"] == content["AP"] == pytest.approx(1.0)
    assert content["per_class"] == {"a": pytest.approx(1.0), "b": pytest.approx(1.0)}
    assert logs == {"loss": 1.0, "AP": content["AP"], "AP50": content["AP50"]}
    assert oracle.calls == [False, False]


def test_coco_callback_measures_a_random_network(detector: keras.Model) -> None:
    callback = CocoCallback(dataset())
    callback.set_model(detector)
    before = [weight.numpy().copy() for weight in detector.non_trainable_weights]
    assert 0 <= callback.evaluate()["AP"] < 0.5
    for weight, value in zip(detector.non_trainable_weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


def test_coco_callback_refuses() -> None:
    with pytest.raises(OptionsError, match="map_slice must be"):
        CocoCallback(dataset(), map_slice=(0.5, 0.1, 0.9))
    callback = CocoCallback(dataset().take(0))
    callback.set_model(Oracle())
    with pytest.raises(DataError, match="needs images"):
        callback.evaluate()


def test_draw_callback_draws_labels_once(tmp_path: Path) -> None:
    callback = DrawCallback(dataset(), total_sample=2, log_dir=tmp_path, class_names=["a", "b"])
    callback.set_model(Oracle())
    for epoch in (0, 1):
        callback.model.place = 0
        callback.on_epoch_end(epoch)
    written = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.jpg"))
    assert written == ["1/0_label.jpg", "1/0_predict.jpg", "1/1_label.jpg", "1/1_predict.jpg", "2/0_predict.jpg",
                       "2/1_predict.jpg"]  # fmt: skip
    pixels = np.asarray(Image.open(tmp_path / "1" / "1_label.jpg"))
    # The second image has no objects: pixels around 100, and nothing drawn.
    assert pixels.shape == (64, 64, 3)
    assert 90 < pixels.mean() < 110
    assert pixels.std() < 25
    with pytest.raises(OptionsError, match="total_sample must be 1 or more"):
        DrawCallback(dataset(), total_sample=0)


def test_predict_detections_and_rows(detector: keras.Model) -> None:
    found = predict_detections(detector, np.zeros((2, 64, 64, 3), np.float32), score_thresh=0.0)
    assert found.boxes.shape == (2, 100, 4)
    assert float(tf.reduce_max(found.boxes)) <= 64.0
    oracle = Oracle()
    rows = detection_rows(predict_detections(oracle, np.zeros((3, 64, 64, 3), np.float32)))
    assert rows.shape == (3, 7)
    np.testing.assert_allclose(rows[rows[:, 0] == 0], [[0, 1, 8, 8, 40, 40, 0.9]], rtol=1e-5)
    assert set(rows[:, 0]) == {0.0, 2.0}
    nothing = Detections(np.zeros((1, 5, 4)), np.zeros((1, 5)), np.zeros((1, 5)), np.zeros(1, int))
    assert detection_rows(nothing).shape == (0, 7)
