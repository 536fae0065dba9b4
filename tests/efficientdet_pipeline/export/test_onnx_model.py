"""ONNX files: any batch size, and optional non-maximum suppression."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.export.onnx_model import write_onnx, write_onnx_with_nms
from efficientdet_pipeline.export.trained_detector import TrainedDetector
from efficientdet_pipeline.inference.canvas import pixel_canvases
from efficientdet_pipeline.inference.onnx_loader import OnnxRunner
from efficientdet_pipeline.inference.predictor import detect_image, model_predictor

runtime = pytest.importorskip("onnxruntime")
pytest.importorskip("tf2onnx")


def test_write_onnx_takes_any_batch(detector: TrainedDetector, images: list[np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    assert min(write_onnx(detector, path).values()) > 80
    runner = OnnxRunner(path.read_bytes(), num_threads=1)
    canvases = np.concatenate([np.asarray(pixel_canvases(image[None], detector.config)[0]) for image in images])
    logits, deltas = runner.run_heads(canvases)
    for row in range(3):
        one = runner.run_heads(canvases[row : row + 1])
        np.testing.assert_allclose(logits[row], one[0][0], atol=1e-3)
        np.testing.assert_allclose(deltas[row], one[1][0], atol=1e-3)
    heads = detector.raw_heads(batch_size=None, dtype="float32").function(tf.constant(canvases))
    largest = float(np.abs(heads[0]).max())
    np.testing.assert_allclose(logits, heads[0], atol=1e-4 * largest)


def test_write_onnx_with_nms_suppresses_per_class(
    detector: TrainedDetector, images: list[np.ndarray], tmp_path: Path
) -> None:
    path = tmp_path / "x_nms.onnx"
    write_onnx_with_nms(detector, path, score_threshold=0.3)
    session = runtime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    canvas = np.asarray(pixel_canvases(images[0][None], detector.config)[0])
    boxes, scores, class_ids, image_index = session.run(None, {"images": canvas})
    best = detect_image(model_predictor(detector.model, detector.config), images[0])
    order = np.argsort(-scores)
    assert image_index.tolist() == [0] * len(scores)
    assert float(scores.min()) >= 0.3
    assert abs(scores[order[0]] - best.scores[0]) < 1e-3
    assert class_ids[order[0]] == best.class_ids[0]
    np.testing.assert_allclose(np.clip(boxes[order[0]], 0, 64), best.boxes[0], atol=0.05)


def test_onnx_runner_refuses_what_is_no_detector(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must be an ONNX file"):
        OnnxRunner(b"no model", path=tmp_path / "bad.onnx")
