"""Post-processed TFLite files, as published by automl, give detections in image pixels."""

from typing import Any

import numpy as np
import pytest
from efficientdet.config import get_config

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.inference.predictor import detect_image
from efficientdet_pipeline.inference.tflite_loader import PostProcessedPredictor, TfliteRunner


class Runner:
    """A file with two detections, the second one beyond the edge of a wide image."""

    canvas = (64, 64)

    def __init__(self, order: tuple[int, ...] = (0, 1, 2, 3), *, takes_floats: bool = False) -> None:
        self.order, self.takes_floats = order, takes_floats
        self.seen: list[np.ndarray] = []

    def run(self, canvas: np.ndarray) -> list[np.ndarray]:
        self.seen.append(canvas)
        boxes = np.array([[[0.125, 0.25, 0.375, 0.5], [0.75, 0.25, 0.95, 0.5], [0.0, 0.0, 1.0, 1.0]]], np.float32)
        outputs = [
            boxes,
            np.array([[1.0, 0.0, 0.0]], np.float32),
            np.array([[0.9, 0.8, 0.0]], np.float32),
            np.array([2.0], np.float32),
        ]
        return [outputs[place] for place in self.order]


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0)])
def test_post_processed_predictor_reads_outputs_in_any_order(order: tuple[int, ...]) -> None:
    runner: Any = Runner(order)
    found = detect_image(PostProcessedPredictor(runner), np.full((64, 128, 3), 9, np.uint8))
    # The canvas is half as large as the image, whose lower half is padding.
    assert found.boxes.tolist() == [[16.0, 32.0, 48.0, 64.0]]
    assert found.class_ids.tolist() == [2]
    assert found.scores.tolist() == pytest.approx([0.9])
    np.testing.assert_allclose(runner.seen[0][0, 60, 5], [127.0] * 3, atol=1e-3)
    stretched = detect_image(PostProcessedPredictor(runner, resize="stretch"), np.zeros((64, 128, 3), np.uint8))
    assert stretched.boxes.tolist()[0] == [8.0, 32.0, 24.0, 64.0]
    assert len(stretched.scores) == 2


def test_post_processed_predictor_normalizes_for_a_file_that_takes_floats() -> None:
    runner: Any = Runner(takes_floats=True)
    detect_image(PostProcessedPredictor(runner), np.full((64, 128, 3), 255, np.uint8))
    np.testing.assert_allclose(runner.seen[0][0, [5, 60], 5], [[1.0] * 3, [0.0] * 3], atol=1e-5)
    runner = Runner(takes_floats=True)
    detect_image(PostProcessedPredictor(runner, get_config("efficientdet-d0")), np.full((64, 128, 3), 255, np.uint8))
    np.testing.assert_allclose(runner.seen[0][0, 5, 5], [2.2489, 2.4286, 2.64], atol=1e-3)


def test_tflite_runner_refuses_what_is_no_model() -> None:
    with pytest.raises(DataError, match="must be a TensorFlow Lite file of builtin operations"):
        TfliteRunner(b"TFL3 and nothing else")
