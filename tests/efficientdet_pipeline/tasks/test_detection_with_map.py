"""Detection with both heads: refusals, and a step that lowers the losses of both."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_network import tiny_config, tiny_network

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.export.serving import ServedDetector
from efficientdet_pipeline.export.tflite import write_tflite
from efficientdet_pipeline.export.trained_detector import TrainedDetector
from efficientdet_pipeline.inference.tflite_loader import TfliteRunner, tflite_predictor
from efficientdet_pipeline.models.build import Network
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.tasks import detection_with_map, task_named
from efficientdet_pipeline.tasks.detection_with_map import DetectionWithMapSetup
from efficientdet_pipeline.training.train_step import StepOptions
from efficientdet_pipeline.training.train_step_tf import TrainingModel

BOTH = {"heads": ["object_detection", "segmentation"]}


def options(**given: object) -> TrainOptions:
    return compose(TrainOptions, **{"url_dataset": "demo", "include_masks": True, **given})


@pytest.mark.parametrize(
    ("given", "hparams", "message"),
    [
        ({}, {"heads": ["segmentation"]}, "segmentation alone.*--task=segmentation"),
        ({"include_masks": False}, BOTH, "without --include_masks; add it"),
        ({"resize": "stretch"}, BOTH, "resize must be letterbox"),
        ({"positives_momentum": 0.9}, BOTH, "positives_momentum has no meaning"),
        ({"formats": "saved_model,onnx"}, BOTH, "must be of saved_model, frozen, tflite, tflite_fp16. Received 'onnx'"),
        ({"prune": "sparsity=0.5"}, BOTH, "fits detectors without the head segmentation"),
    ],
)
def test_detection_with_map_refuses_what_does_not_fit(given: dict, hparams: dict, message: str) -> None:
    task = task_named("detection")
    with pytest.raises(OptionsError, match=message):
        task.image_size("efficientdet-d0", options(**given), HparamsGiven(network=hparams))
    assert task.image_size("efficientdet-d0", options(**given), HparamsGiven()) == (512, 512)


def test_detection_with_map_needs_masks_in_the_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    shards: Any = SimpleNamespace(num_classes=2, label_map={1: "a", 2: "b"}, train=("t",), max_instances=4)
    task, given = task_named("detection"), HparamsGiven(network=BOTH)
    monkeypatch.setattr(detection_with_map, "has_masks", lambda files: False)
    with pytest.raises(OptionsError, match="needs masks of the objects, and the shards have none"):
        task.setup("efficientdet-d0", options(), given, shards)
    few = HparamsGiven(network={**BOTH, "seg_num_classes": 2})
    with pytest.raises(OptionsError, match="seg_num_classes must be at least 3"):
        task.setup("efficientdet-d0", options(), few, shards)
    monkeypatch.setattr(detection_with_map, "has_masks", lambda files: True)
    setup = task.setup("efficientdet-d0", options(), given, shards)
    assert isinstance(setup, DetectionWithMapSetup)
    assert setup.config.seg_num_classes == 3
    assert {"segmentation_loss", "AP", "mIoU"} <= set(setup.layout.columns)
    again = task.setup_of_description(setup.network.config.__dict__, options(), max_instances=4)
    assert isinstance(again, DetectionWithMapSetup)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return tiny_network(seg_num_classes=3, **BOTH)


def test_detection_with_map_trains_both_heads(network: keras.Model) -> None:
    config = tiny_config(seg_num_classes=3, **BOTH)
    setup = DetectionWithMapSetup(options=options(), network=Network(config, {}, {}), shards=None, max_instances=4)
    images, truth = setup.random_batch(2)
    maps = truth[2].copy()
    maps[:, :32] = 1
    model = TrainingModel(network, setup.objective(), StepOptions())
    model.compile(optimizer=keras.optimizers.Adam(0.01), jit_compile=False)
    batches = tf.data.Dataset.from_tensors((images, truth._replace(semantic_map=maps)))
    losses = model.fit(batches, epochs=4, shuffle=False, verbose=0).history
    for name in ("segmentation_loss", "class_loss"):
        assert losses[name][-1] < losses[name][0]


def test_served_detector_with_map_returns_the_class_of_each_pixel(network: keras.Model, tmp_path: Path) -> None:
    served = ServedDetector(lambda images: network(images, training=False), network.config)
    assert served.has_map
    *boxes, semantic_map = served.serve(np.zeros((2, 20, 33, 3), np.uint8))
    assert len(boxes) == 4
    assert (semantic_map.shape, semantic_map.dtype.name) == ((2, 20, 33), "uint8")


def test_tflite_of_a_detector_with_map_has_its_logits(network: keras.Model, tmp_path: Path) -> None:
    config = network.config
    detector = TrainedDetector(model=network, config=config, label_map={1: "a", 2: "b"})
    decibels = write_tflite(detector, tmp_path / "both.tflite")
    assert set(decibels) == {"logits", "deltas", "map_logits"}
    assert min(decibels.values()) > 60
    runner = TfliteRunner((tmp_path / "both.tflite").read_bytes())
    canvas = np.random.default_rng(0).integers(0, 256, (1, *config.image_size, 3)).astype(np.float32)
    *heads, map_logits = runner.run_outputs(canvas)
    assert map_logits.shape == (1, *(side // 4 for side in config.image_size), config.seg_num_classes)
    for one, other in zip(heads, runner.run_heads(canvas), strict=True):
        np.testing.assert_array_equal(one, other)
    found = tflite_predictor(tmp_path / "both.tflite", config).detect(np.zeros((1, 20, 33, 3), np.uint8))
    assert found.boxes.shape[0] == 1


def test_detection_with_map_format_line_names_both_metrics() -> None:
    setup = DetectionWithMapSetup(
        options=options(), network=Network(tiny_config(**BOTH), {}, {}), shards=None, max_instances=4
    )
    assert setup.format_line({"AP": 0.5, "AP50": 0.7, "mIoU": 0.25}).endswith("mIoU 0.250")
    assert setup.format_line({"AP": 0.5, "AP50": 0.7}).endswith("maps not evaluated")


def test_detection_with_map_names_options_without_effect(caplog: pytest.LogCaptureFixture, monkeypatch) -> None:
    shards: Any = SimpleNamespace(num_classes=2, label_map={1: "a", 2: "b"}, train=("t",), max_instances=4)
    monkeypatch.setattr(detection_with_map, "has_masks", lambda files: True)
    given = options(max_rotation=15.0, mosaic=0.5, augment=True, input_rand_vflip=True)
    task_named("detection").setup("efficientdet-d0", given, HparamsGiven(network=BOTH), shards)
    assert "No effect on a detector with the head segmentation: --mosaic, --input_rand_vflip, --max_rotation." in (
        caplog.text
    )
    caplog.clear()
    task_named("detection").setup("efficientdet-d0", given, HparamsGiven(), shards)
    assert "No effect on detection: --input_rand_vflip, --max_rotation." in caplog.text
