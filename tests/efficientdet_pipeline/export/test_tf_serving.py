"""A SavedModel for TensorFlow Serving takes images and encoded bytes."""

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.framework.tensor_pb2 import TensorProto

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.export.tf_serving import (
    WARMUP,
    next_version,
    prediction_log,
    write_next_version,
    write_version_folder,
)
from efficientdet_pipeline.export.trained_detector import TrainedDetector
from efficientdet_pipeline.inference.predictor import detect_image, model_predictor, saved_model_predictor
from tfrmod.tfrecord_io import read_records


def png(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return content.getvalue()


def test_write_version_folder_serves_images_and_bytes(
    detector: TrainedDetector, images: list[np.ndarray], tmp_path: Path
) -> None:
    model = tmp_path / "serving" / "cells"
    encoded = [png(image) for image in images[:2]]
    folder = write_next_version(detector, model)
    assert folder == model / "1"
    assert next_version(model) == 2
    assert [path.name for path in model.iterdir()] == ["1"]
    requests = list(read_records(folder / WARMUP))
    assert len(requests) == 4
    jpeg = tf.io.encode_jpeg(detector.calibration[0]).numpy()
    assert requests[0] == prediction_log("cells", "serving_bytes", {"image_bytes": [jpeg]})

    expected = detect_image(model_predictor(detector.model, detector.config), images[0])
    found = detect_image(saved_model_predictor(folder), images[0])
    np.testing.assert_allclose(found.scores[:5], expected.scores[:5], atol=1e-3)
    np.testing.assert_allclose(found.boxes[:5], expected.boxes[:5], atol=0.05)
    loaded = tf.saved_model.load(str(folder))
    by_bytes = loaded.signatures["serving_bytes"](image_bytes=tf.constant(encoded))
    assert by_bytes["output_0"].shape[:2] == (2, 100)
    np.testing.assert_allclose(by_bytes["output_1"][0, :5], expected.scores[:5], atol=1e-3)
    assert len(loaded.signatures["predict"].structured_outputs) == 2 * len(detector.config.levels)

    with pytest.raises(OptionsError, match="try 2"):
        write_version_folder(detector, model, version=1)


def test_prediction_log_has_the_fields_of_its_messages() -> None:
    log = prediction_log("m", "s", {"x": [b"ab"]})
    # predict_log (6) holds request (1), which holds model_spec (1: name 1, signature_name 3) and inputs (2).
    assert log[0] == 6 << 3 | 2
    assert log[2] == 1 << 3 | 2
    request = log[4:]
    assert request[:8] == b"\x0a\x06\x0a\x01m\x1a\x01s"
    entry = request[10:]
    assert entry[:3] == b"\x0a\x01x"
    tensor = tf.make_ndarray(TensorProto.FromString(entry[5:]))
    assert tensor.tolist() == [b"ab"]
