"""Raw outputs become detections in image pixels, as in evaluation."""

from pathlib import Path

import numpy as np
import pytest
from efficientdet.anchors import anchor_boxes
from efficientdet.config import get_config

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.inference.predictor import detect_image
from efficientdet_pipeline.inference.raw_heads import RawHeadsPredictor, check_images

CONFIG = get_config("efficientdet-d0", image_size=128, num_classes=2)
ANCHORS = anchor_boxes(CONFIG)
INSIDE = int(np.flatnonzero((ANCHORS.min(axis=1) > 1) & (ANCHORS.max(axis=1) < 60))[0])
"""An anchor in the upper left of the canvas."""


def run_heads(canvases: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Detects one object of class index 1 at one anchor of each canvas."""
    logits = np.full((len(canvases), len(ANCHORS), 2), -9.0, np.float32)
    logits[:, INSIDE, 1] = 2.0
    return logits, np.zeros((len(canvases), len(ANCHORS), 4), np.float32)


@pytest.mark.parametrize(("resize", "factors"), [("letterbox", (2, 2)), ("stretch", (1, 2))])
def test_raw_heads_predictor_gives_boxes_in_image_pixels(resize: str, factors: tuple[int, int]) -> None:
    predictor = RawHeadsPredictor(run_heads, CONFIG, path=Path("x"), resize=resize)
    found = detect_image(predictor, np.zeros((128, 256, 3), np.uint8)).above(0.5)
    np.testing.assert_allclose(found.boxes, [ANCHORS[INSIDE] * np.tile(factors, 2)], atol=1e-3)
    np.testing.assert_allclose(found.scores, [1 / (1 + np.exp(-2))], atol=1e-5)
    assert found.class_ids.tolist() == [2]
    assert predictor.detect(np.zeros((3, 64, 64, 3), np.uint8)).boxes.shape == (3, 100, 4)


def test_raw_heads_predictor_refuses_outputs_of_another_network() -> None:
    other = get_config("efficientdet-d0", image_size=128, num_classes=3)
    with pytest.raises(DataError, match=r"x.onnx must return logits of shape .* Received \(1, \d+, 2\)"):
        RawHeadsPredictor(run_heads, other, path=Path("x.onnx")).detect(np.zeros((1, 9, 9, 3), np.uint8))


@pytest.mark.parametrize("taken", [(None, 8, 8, 3), ("batch", 8, 8, 3), (5, None, None, 3)])
def test_check_images_takes_any_batch_and_sizes_that_are_free(taken: tuple[object, ...]) -> None:
    check_images(Path("x.onnx"), taken, np.zeros((2, 8, 8, 3), np.float32))


@pytest.mark.parametrize("taken", [(None, 16, 8, 3), (None, 8, 16, 3), (None, 8, 8, 1), (None, 8, 8)])
def test_check_images_refuses_another_shape(taken: tuple[object, ...]) -> None:
    with pytest.raises(
        DataError, match=r"x\.onnx must take images of shape \(2, 8, 8, 3\).*artifact of another network"
    ):
        check_images(Path("x.onnx"), taken, np.zeros((2, 8, 8, 3), np.float32))
