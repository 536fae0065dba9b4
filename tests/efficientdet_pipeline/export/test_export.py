"""An export reproduces the model without this package."""

import json
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from efficientdet import serving
from efficientdet.automl.variable_names import variable_names
from efficientdet.config import DetectorConfig, get_config
from efficientdet.inference_form import inference_network
from efficientdet.model import build_model
from efficientdet.preprocess import canvas_batch
from efficientdet.types import Detections

from efficientdet_pipeline.export.bundle import ExportedFiles, write_bundle
from efficientdet_pipeline.export.formats import formats_of
from efficientdet_pipeline.export.frozen_graph import frozen_graph_def
from efficientdet_pipeline.export.serving import ServedDetector
from efficientdet_pipeline.export.trained_detector import TrainedDetector

LABELS = {1: "cat", 2: "собака", 3: "no: yes"}
PHOTO_SIZES = [
    (1, 97, 131),
    (1, 128, 128),
    (1, 33, 300),
    (1, 300, 33),
    (1, 64, 80),
    (1, 201, 77),
    (1, 1, 1),
    (3, 150, 90),
]
"""(images, height, width): ten images in eight batches."""

STRANGER = Path(__file__).with_name("stranger.py")
"""A program with TensorFlow that does not import this package."""


class Exported(NamedTuple):
    model: keras.Model
    config: DetectorConfig
    files: ExportedFiles


def photos() -> list[np.ndarray]:
    """Returns reproducible random images with large and small shapes."""
    random = np.random.RandomState(0)
    batches = []
    for number, *size in PHOTO_SIZES:
        large, small = (random.uniform(-1, 1, (number, cells, cells, 3)) for cells in (4, 25))
        waves = sum(tf.image.resize(noise, size, "bilinear") for noise in (large, small))
        batches.append(np.clip(127 + 100 * np.asarray(waves), 0, 255).astype(np.uint8))
    return batches


def tiny_model() -> tuple[keras.Model, DetectorConfig]:
    """Returns a small network with different detections in different images."""
    config = get_config("efficientdet-d0", num_classes=3, image_size=128, fpn_cell_repeats=1, box_class_repeats=1)
    model = build_model(config)
    for name, variable in variable_names(model).items():
        if name.endswith("kernel"):
            # By name, so that the values do not depend on the order in which layers are created.
            random = np.random.RandomState(zlib.crc32(name.encode()))
            fan = 9 if name.endswith("depthwise_kernel") else np.prod(variable.shape[:-1])
            gain = 0.1 if name.startswith("box_net/box-predict") else 1.0
            variable.assign(random.standard_normal(variable.shape) * gain / np.sqrt(fan))
    # Batch statistics of real images keep the features of different images distinct through all layers.
    norms = [layer for layer in model._flatten_layers() if hasattr(layer, "momentum")]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    model(tf.concat([canvas_batch(tf.constant(images), config)[0] for images in photos()], axis=0), training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model, config


def detect(model: keras.Model, config: DetectorConfig, batches: list[np.ndarray]) -> list[Detections]:
    """Returns the detections of evaluation for each batch."""

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)])
    def graph(images: tf.Tensor) -> Detections:
        return serving.detect(images, lambda canvases: model(canvases, training=False), config)

    return [Detections(*map(np.asarray, graph(tf.constant(images)))) for images in batches]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    model, config = tiny_model()
    folder = tmp_path_factory.mktemp("run") / "export"
    detector = TrainedDetector(model=model, config=config, label_map=LABELS, hparams={"learning_rate": 0.1})
    return Exported(model, config, write_bundle(detector, folder, formats_of(["saved_model", "frozen"])))


@pytest.fixture(scope="module")
def expectations(exported: Exported) -> list[Detections]:
    return detect(exported.model, exported.config, photos())


@pytest.fixture(scope="module")
def answers(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with the results of the files in a fresh process."""
    folder = tmp_path_factory.mktemp("answers")
    np.savez(folder / "photos.npz", *photos())
    np.save(folder / "canvases.npy", canvas_batch(photos()[-1], exported.config)[0])
    command = [sys.executable, "-I", str(STRANGER), *map(str, (*exported.files.artifacts.values(), folder))]
    stranger = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, timeout=300)
    assert stranger.returncode == 0, stranger.stderr
    return folder


@pytest.mark.parametrize("artefact", ["saved_model", "frozen_graph"])
def test_a_fresh_process_gives_the_models_detections(
    expectations: list[Detections], answers: Path, artefact: str
) -> None:
    with np.load(answers / f"{artefact}.npz") as arrays:
        for number, expected in enumerate(expectations):
            actual = Detections(*(arrays[f"{number}_{field}"] for field in range(4)))
            assert min(expected.num_valid) > 50
            assert len(np.unique(expected.class_ids)) == 3
            np.testing.assert_array_equal(actual.num_valid, expected.num_valid)
            np.testing.assert_allclose(actual.scores, expected.scores, rtol=0, atol=1e-5)
            # Equal scores may change the order, so each row is compared with that of the same class and box.
            ours, theirs = (np.concatenate([d.boxes, 1000 * d.class_ids[..., None]], -1) for d in (expected, actual))
            distances = np.abs(ours[:, :, None] - theirs[:, None]).max(-1)
            assert distances.min(axis=1).max() < 1e-4
            assert distances.min(axis=2).max() < 1e-4


def test_names_and_types_are_those_of_automls_export(exported: Exported, answers: Path) -> None:
    report = json.loads((answers / "report.json").read_text())
    serving = report["serving_default"]
    assert serving["inputs"] == {"images": ["uint8", [None, None, None, 3]]}
    assert {name: kind for name, (kind, _) in serving["outputs"].items()} == {
        "output_0": "float32",
        "output_1": "float32",
        "output_2": "float32",
        "output_3": "int32",
    }
    assert report["predict"]["inputs"] == {"images": ["float32", [None, 128, 128, 3]]}
    assert report["predict"]["outputs"]["output_0"] == ["float32", [None, 16, 16, 27]]
    assert report["predict"]["outputs"]["output_9"] == ["float32", [None, 1, 1, 36]]
    assert len(report["predict"]["outputs"]) == 10
    assert {"images", "Identity", "Identity_1", "Identity_2", "Identity_3"} <= set(report["nodes"])
    assert not {"VarHandleOp", "ReadVariableOp", "PartitionedCall", "StatefulPartitionedCall"} & set(
        report["operations"]
    )
    assert report["warnings"] == []
    assert exported.files.frozen_graph.name == "efficientdet-d0_frozen.pb"


def test_the_predict_signature_is_the_bare_network(exported: Exported, answers: Path) -> None:
    canvases, _ = canvas_batch(photos()[-1], exported.config)
    outputs = exported.model(canvases, training=False)
    with np.load(answers / "predict.npz") as arrays:
        for number, (head, level) in enumerate((head, level) for head in ("class", "box") for level in range(3, 8)):
            np.testing.assert_allclose(arrays[f"output_{number}"], outputs[head][level], rtol=0, atol=1e-4)


def test_labels_and_network_are_beside(exported: Exported) -> None:
    files = exported.files
    assert yaml.safe_load(files.label_map.read_text(encoding="utf-8")) == LABELS
    settings = yaml.safe_load(files.hparams.read_text(encoding="utf-8"))
    assert (settings["label_map"], settings["learning_rate"]) == (LABELS, 0.1)
    assert get_config("efficientdet-d7").override(files.hparams) == exported.config
    beside = {"thresholds.yaml", "MODEL_CARD.md", "sha256sums.txt", ".efficientdet-files.json"}
    named = {*files.artifacts.values(), files.label_map, files.hparams}
    assert {path.name for path in files.folder.iterdir()} == {path.name for path in named} | beside


@pytest.fixture
def half_precision() -> Iterator[None]:
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.usefixtures("half_precision")
def test_a_network_of_half_precision_can_be_frozen() -> None:
    model, config = tiny_model()
    graph_def = frozen_graph_def(ServedDetector(inference_network(model, config), config, mode="global"))
    assert [node.name for node in graph_def.node if node.op == "Placeholder"] == ["images"]
    images = photos()[0]
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tf.graph_util.import_graph_def(graph_def, name="")
        boxes, _, _, num_valid = session.run(
            [f"Identity{end}:0" for end in ("", "_1", "_2", "_3")], {"images:0": images}
        )
    assert (boxes.dtype, boxes.shape) == (np.float32, (1, 100, 4))
    assert num_valid[0] > 10


def test_an_export_holds_the_suppression_of_the_config() -> None:
    small = {"image_size": 64, "num_classes": 2, "fpn_cell_repeats": 1, "fpn_num_filters": 8, "box_class_repeats": 1}
    config = get_config("efficientdet-lite0", **small, nms_configs={"max_output_size": 7})
    boxes_found, *_ = ServedDetector(build_model(config), config).serve(np.zeros((1, 20, 30, 3), np.uint8))
    assert boxes_found.shape == (1, 7, 4)
