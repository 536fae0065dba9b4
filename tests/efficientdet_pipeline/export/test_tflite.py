"""TFLite files: raw outputs, post-processing and metadata, and the rejection of files without detections."""

import dataclasses
import json
import os
import subprocess
import zipfile
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

from efficientdet_pipeline.errors import AccuracyError, DataError
from efficientdet_pipeline.export.tflite import check_content, converted, write_tflite
from efficientdet_pipeline.export.tflite_file import operations, read_model, with_own_biases
from efficientdet_pipeline.export.tflite_metadata import label_lines
from efficientdet_pipeline.export.tflite_postprocess import (
    OUTPUTS,
    PostProcess,
    has_post_processing,
    write_post_processed,
)
from efficientdet_pipeline.export.trained_detector import RawHeads, TrainedDetector, check_raw_heads, signal_to_noise
from efficientdet_pipeline.inference.canvas import pixel_canvases
from efficientdet_pipeline.inference.predictor import detect_image, model_predictor
from efficientdet_pipeline.inference.tflite_loader import TfliteRunner, tflite_predictor

LABELS = {1: "cat", 2: "собака", 3: "no: yes"}


@pytest.fixture(scope="module")
def raw_heads(detector: TrainedDetector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("raw") / "raw.tflite"
    decibels = write_tflite(detector, path)
    assert min(decibels.values()) > 80
    return path


@pytest.fixture(scope="module")
def with_nms(detector: TrainedDetector, raw_heads: Path) -> Path:
    path = raw_heads.with_name("nms.tflite")
    write_post_processed(detector, raw_heads, path, PostProcess(max_detections=50))
    return path


def test_write_tflite_has_named_ends_and_builtin_operations(raw_heads: Path, detector: TrainedDetector) -> None:
    model = schema.Model.GetRootAsModel(raw_heads.read_bytes(), 0)
    graph = model.Subgraphs(0)
    names = [graph.Tensors(graph.Inputs(0)).Name(), *(graph.Tensors(graph.Outputs(n)).Name() for n in range(2))]
    assert names == [b"images", b"logits", b"deltas"]
    assert graph.Tensors(graph.Inputs(0)).Type() == schema.TensorType.UINT8
    assert model.SignatureDefs(0).SignatureKey() == b"serving_default"
    assert not {name for name in operations(raw_heads.read_bytes()) if name.startswith(("CUSTOM", "Flex"))}
    assert raw_heads.stat().st_size > 3.5 * detector.model.count_params()


def test_with_own_biases_changes_no_output(raw_heads: Path) -> None:
    def biases(content: bytes) -> list[int]:
        model = read_model(content)
        convolutions = (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D)
        codes = [each.builtinCode in convolutions for each in model.operatorCodes]
        return [int(each.inputs[2]) for each in model.subgraphs[0].operators if codes[each.opcodeIndex]]

    content = raw_heads.read_bytes()
    changed = with_own_biases(content)
    assert len(set(biases(content))) < len(biases(content)) == len(set(biases(changed)))
    canvas = np.random.default_rng(0).integers(0, 255, (1, 64, 64, 3)).astype(np.float32)
    for one, other in zip(TfliteRunner(content).run(canvas), TfliteRunner(changed).run(canvas), strict=True):
        np.testing.assert_array_equal(one, other)


def test_write_post_processed_gives_four_outputs_in_order(with_nms: Path) -> None:
    content = with_nms.read_bytes()
    assert has_post_processing(content)
    graph = schema.Model.GetRootAsModel(content, 0).Subgraphs(0)
    ends = [graph.Tensors(graph.Outputs(number)) for number in range(4)]
    assert [end.Name().decode() for end in ends] == list(OUTPUTS)
    assert [end.ShapeAsNumpy().tolist() for end in ends] == [[1, 50, 4], [1, 50], [1, 50], [1]]


def test_write_post_processed_decodes_as_the_checkpoint(
    with_nms: Path, detector: TrainedDetector, images: list[np.ndarray]
) -> None:
    # Both use hard NMS here, and the image needs no resizing: the best boxes must be equal.
    hard = {"method": "hard", "iou_thresh": 0.5, "score_thresh": 0.001, "max_nms_inputs": 0}
    config = dataclasses.replace(detector.config, nms_configs={**detector.config.nms_configs, **hard})
    expected = detect_image(model_predictor(detector.model, config, mode="global"), images[0])
    found = detect_image(tflite_predictor(with_nms, None), images[0])
    count = 10
    np.testing.assert_allclose(found.scores[:count], expected.scores[:count], atol=1e-3)
    assert found.class_ids[:count].tolist() == expected.class_ids[:count].tolist()
    np.testing.assert_allclose(found.boxes[:count], expected.boxes[:count], atol=0.05)


def test_write_post_processed_holds_metadata_and_labels(with_nms: Path, detector: TrainedDetector) -> None:
    assert label_lines(detector) == "cat\nсобака\nno: yes\n"
    with zipfile.ZipFile(with_nms) as archive:
        assert archive.read("labels.txt").decode() == label_lines(detector)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(with_nms.read_bytes(), 0))
    entry = next(each for each in model.metadata if each.name == b"TFLITE_METADATA")
    metadata = bytes(bytearray(model.buffers[entry.buffer].data))
    assert metadata[4:8] == b"M001"
    root = flatbuffers.table.Table(
        metadata, flatbuffers.encode.Get(flatbuffers.number_types.UOffsetTFlags.packer_type, metadata, 0)
    )
    name = root.String(root.Offset(4) + root.Pos)
    assert name == b"ObjectDetector"


def test_write_post_processed_refuses_other_files(with_nms: Path, detector: TrainedDetector, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Post-processing is added to float logits and deltas"):
        write_post_processed(detector, with_nms, tmp_path / "twice.tflite")


def test_check_content_refuses_a_file_without_weights(detector: TrainedDetector, raw_heads: Path) -> None:
    with pytest.raises(DataError, match="dropped the weights"):
        check_content(raw_heads.read_bytes()[:2800], detector, "float32")


def test_check_raw_heads_refuses_zeros(detector: TrainedDetector, raw_heads: Path) -> None:
    def zeros(canvases: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, deltas = TfliteRunner(raw_heads.read_bytes()).run_heads(canvases)
        return np.zeros_like(logits), np.zeros_like(deltas)

    with pytest.raises(DataError, match="must reproduce the outputs of the trained network"):
        check_raw_heads(detector, zeros, min_decibels=6.0, what="zeros.tflite")


def test_check_raw_heads_tells_an_inaccurate_file_from_a_broken_one(detector: TrainedDetector, raw_heads: Path) -> None:
    def rough(canvases: np.ndarray) -> list[np.ndarray]:
        outputs = TfliteRunner(raw_heads.read_bytes()).run_heads(canvases)
        return [each + np.random.default_rng(0).normal(0.0, each.std(), each.shape) for each in outputs]

    with pytest.raises(AccuracyError, match=r"Received logits of shape .* try a larger --calibration_images"):
        check_raw_heads(detector, rough, min_decibels=3.0, what="rough.tflite")


def test_converted_int8_opens_where_a_relu_was_0_on_all_calibration_images() -> None:
    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3), tf.uint8)])
    def run(images: tf.Tensor) -> tf.Tensor:
        x = tf.cast(images, tf.float32) / 255.0
        gate = tf.nn.relu(tf.matmul(tf.reduce_mean(x, (1, 2)), -tf.ones((3, 2))))
        return x * tf.sigmoid(tf.matmul(gate, tf.ones((2, 3))) + tf.constant([2e-5, 0.0, -1e-5]))[:, None, None]

    samples = [np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3)).astype(np.float32)]
    content = converted(RawHeads(run.get_concrete_function(), tf.Module()), precision="int8", samples=samples)
    np.testing.assert_allclose(TfliteRunner(content).run(samples[0])[0], samples[0] / 510, atol=0.01)


def test_write_tflite_needs_images_for_int8(detector: TrainedDetector, tmp_path: Path) -> None:
    without = dataclasses.replace(detector, calibration=())
    with pytest.raises(DataError, match="needs calibration images, about 32"):
        write_tflite(without, tmp_path / "x.tflite", precision="int8")
    assert not list(tmp_path.iterdir())


def test_tflite_predictor_refuses_damaged_and_foreign_files(
    tmp_path: Path, raw_heads: Path, detector: TrainedDetector
) -> None:
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(raw_heads.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"damaged.tflite must be a TensorFlow Lite file"):
        tflite_predictor(damaged, detector.config)
    with pytest.raises(DataError, match="description must be beside it"):
        tflite_predictor(raw_heads, None)
    larger = dataclasses.replace(detector.config, image_size=(128, 128))
    with pytest.raises(DataError, match="artifact of another network"):
        tflite_predictor(raw_heads, larger)
    other = dataclasses.replace(detector.config, num_classes=7)
    with pytest.raises(DataError, match="artifact of another"):
        detect_image(tflite_predictor(raw_heads, other), np.zeros((9, 9, 3), np.uint8))


def test_signal_to_noise_in_decibels() -> None:
    signal = np.sin(np.arange(1000.0))
    assert signal_to_noise(signal, signal + 0.01 * signal) == pytest.approx(40, abs=0.1)
    assert signal_to_noise(signal, np.full(1000, np.nan)) == float("-inf")
    # For an untrained network, rounding is within the limit, and zeros are not.
    constant = np.full(1000, -4.6)
    assert signal_to_noise(constant, constant + 1e-6) > 60
    assert signal_to_noise(constant, np.zeros(1000)) < 0


def test_pixel_canvases_pad_with_the_mean_color_or_stretch(detector: TrainedDetector) -> None:
    image = np.full((1, 32, 64, 3), 200, np.uint8)
    canvas, scales = pixel_canvases(image, detector.config)
    assert np.asarray(canvas).shape == (1, 64, 64, 3)
    mean = np.broadcast_to(detector.config.mean_rgb, 3)
    np.testing.assert_allclose(canvas[0, 40, 5], mean, atol=1e-3)
    np.testing.assert_allclose(canvas[0, 5, 5], 200, atol=1e-3)
    np.testing.assert_allclose(scales, [1, 1])
    stretched, scales = pixel_canvases(image, detector.config, "stretch")
    np.testing.assert_allclose(stretched[0, 60, 5], 200, atol=1e-3)
    np.testing.assert_allclose(scales, [0.5, 1])


MEDIAPIPE = """
import json, sys
import mediapipe as mp
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision

options = vision.ObjectDetectorOptions(base_options=BaseOptions(model_asset_path=sys.argv[1]), score_threshold=0.3)
with vision.ObjectDetector.create_from_options(options) as detector:
    image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.load(sys.argv[2]))
    found = detector.detect(image).detections
print(json.dumps([[each.categories[0].category_name, each.categories[0].score] for each in found]))
"""


def test_write_post_processed_opens_in_mediapipe(with_nms: Path, images: list[np.ndarray], tmp_path: Path) -> None:
    python = os.environ.get("EFFICIENTDET_MEDIAPIPE_PYTHON")
    if not python:
        pytest.skip("EFFICIENTDET_MEDIAPIPE_PYTHON is not set: it names the Python of an environment with mediapipe")
    np.save(tmp_path / "image.npy", images[0])
    command = [python, "-c", MEDIAPIPE, str(with_nms), str(tmp_path / "image.npy")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    received = json.loads(done.stdout.splitlines()[-1])
    found = detect_image(tflite_predictor(with_nms, None), images[0]).above(0.3)
    expected = [[LABELS[class_id], score] for class_id, score in zip(found.class_ids, found.scores, strict=True)]
    assert len(expected) > 5
    assert [name for name, _ in received] == [name for name, _ in expected]
    np.testing.assert_allclose([score for _, score in received], [score for _, score in expected], atol=1e-5)
