"""Export formats of segmentation and classification: each runs in its own runtime and gives what the network gives."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from efficientdet.unet import UNetConfig
from small_class_networks import CLASSIFICATION, SEGMENTATION, SmallClassifier, SmallMap

from efficientdet_pipeline.errors import AccuracyError, DataError, OptionsError
from efficientdet_pipeline.export.class_bundle import write_class_bundle
from efficientdet_pipeline.export.class_formats import CLASS_FORMATS, TrainedClassNetwork, class_formats_of
from efficientdet_pipeline.export.gate import GateReport, Measured
from efficientdet_pipeline.export.probability_graph import probability_graph
from efficientdet_pipeline.inference.class_predictor import exported_predictor, model_predictor
from efficientdet_pipeline.inference.probabilities import load_probabilities
from efficientdet_pipeline.models.segmentation import SegmentationNetwork
from efficientdet_pipeline.options.export import FORMAT_PACKAGES, FormatOptions
from efficientdet_pipeline.options.schema import compose


@pytest.fixture(scope="module")
def segmentation() -> TrainedClassNetwork:
    images = [np.random.default_rng(number).integers(0, 256, (40, 50, 3), dtype=np.uint8) for number in range(2)]
    return TrainedClassNetwork(model=SmallMap(), network=SEGMENTATION, calibration=images)


IMAGES = [np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((64, 96), (45, 70))]


@pytest.mark.parametrize("name", CLASS_FORMATS)
def test_class_formats_give_what_the_segmentation_gives(
    name: str, segmentation: TrainedClassNetwork, tmp_path: Path
) -> None:
    each = CLASS_FORMATS[name]
    missing = [package for package in FORMAT_PACKAGES.get(name, ()) if importlib.util.find_spec(package) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    path = each.path(tmp_path, SEGMENTATION)
    each.write(segmentation, path)
    run = load_probabilities(path, SEGMENTATION)
    expected = model_predictor(segmentation.model, SEGMENTATION).probabilities
    tolerance = {"float32": 1e-3, "float16": 0.1, "int8": 0.4}[each.precision]
    # An image of the canvas's size is fitted without a change.
    for image in IMAGES[:1] if each.is_fixed else IMAGES:
        np.testing.assert_allclose(run(image), expected(image), atol=tolerance)
    assert run(IMAGES[1]).shape == (45, 70, 3)
    assert {path.name for path in tmp_path.iterdir()} == set(each.files(SEGMENTATION))


@pytest.mark.parametrize("name", ["frozen", "tflite", "onnx"])
def test_class_formats_give_what_the_classifier_gives(name: str, tmp_path: Path) -> None:
    trained = TrainedClassNetwork(model=SmallClassifier(), network=CLASSIFICATION)
    path = CLASS_FORMATS[name].path(tmp_path, CLASSIFICATION)
    CLASS_FORMATS[name].write(trained, path)
    run = load_probabilities(path, CLASSIFICATION)
    expected = model_predictor(trained.model, CLASSIFICATION).probabilities
    for image in IMAGES:
        np.testing.assert_allclose(run(image), expected(image), atol=0.02 if name == "tflite" else 1e-3)


def test_class_formats_of_refuses_those_of_detectors() -> None:
    with pytest.raises(OptionsError, match=r"formats of a segmentation must be .*Received 'tflite_nms'"):
        class_formats_of(compose(FormatOptions, formats="tflite_nms"), "segmentation")
    chosen = compose(FormatOptions, formats="all")
    found = [each.name for each in class_formats_of(chosen, "segmentation")]
    assert {*found, *chosen.left_out(CLASS_FORMATS)} == CLASS_FORMATS.keys()


def test_trained_class_network_needs_images_for_int8() -> None:
    trained = TrainedClassNetwork(model=SmallMap(), network=SEGMENTATION)
    with pytest.raises(DataError, match="Quantization to int8 needs images"):
        trained.canvases()


def test_trained_class_network_check_refuses_a_file_of_zeros(segmentation: TrainedClassNetwork) -> None:
    with pytest.raises(DataError, match=r"x\.onnx must give what the trained network gives"):
        segmentation.check(lambda pixels: np.zeros((*pixels.shape[:3], 3)), precision="float32", what="x.onnx")


def test_trained_class_network_check_takes_zeros_of_a_network_that_gives_zeros() -> None:
    trained = TrainedClassNetwork(model=SmallMap(), network=SEGMENTATION)
    zeros = SimpleNamespace(function=lambda pixels: np.zeros((1, 8, 8, 1), np.float32))
    vars(trained)["graph"] = SimpleNamespace(on_canvas=lambda **given: zeros)
    trained.check(lambda pixels: zeros.function(pixels) + 1e-9, precision="float32", what="x.onnx")
    with pytest.raises(AccuracyError, match=r"x\.onnx must give what the trained network gives"):
        trained.check(lambda pixels: zeros.function(pixels) + 0.1, precision="float32", what="x.onnx")


def test_load_probabilities_refuses_an_artifact_of_another_network(
    segmentation: TrainedClassNetwork, tmp_path: Path
) -> None:
    other = SegmentationNetwork(UNetConfig(backbone_name="efficientnet-lite0"), {}, (32, 32))
    for name, words in (("tflite", r"must take the canvas \(32, 32\)"), ("frozen", "must give 1 columns")):
        path = CLASS_FORMATS[name].path(tmp_path, SEGMENTATION)
        CLASS_FORMATS[name].write(segmentation, path)
        with pytest.raises(DataError, match=words):
            load_probabilities(path, other)(IMAGES[0])
    (tmp_path / "x.pb").write_bytes(b"no graph")
    with pytest.raises(DataError, match="must be an exported network"):
        load_probabilities(tmp_path / "x.pb", SEGMENTATION)


def _report(lost: str) -> Callable[..., GateReport]:
    def measure(folder: Path, formats: object, decibels: object) -> GateReport:
        artifacts = [
            Measured(
                name=name, bytes=1, score=0.5, per_class={}, drop=0.4 if name == lost else 0.0, max_drop=0.005,
                canvas_drop=None, suppression_drop=None, milliseconds=None, decibels={},
            )
            for name in ("frozen", "tflite")
        ]  # fmt: skip
        return GateReport(
            score=0.5, per_class={}, milliseconds=None, artifacts=tuple(artifacts), num_images=1, metric="mIoU"
        )

    return measure


def test_write_class_bundle_keeps_what_the_gate_accepts(segmentation: TrainedClassNetwork, tmp_path: Path) -> None:
    formats = [CLASS_FORMATS["frozen"], CLASS_FORMATS["tflite"]]
    exported = write_class_bundle(segmentation, tmp_path, formats, measure=_report("tflite"))
    assert list(exported.artifacts) == ["frozen"]
    assert exported.label_map.is_file()
    assert not list(tmp_path.glob("*.tflite"))
    assert "| tflite | 0.5000 | +0.4000 |" in (tmp_path / "MODEL_CARD.md").read_text()
    predictor = exported_predictor(exported.frozen_graph)
    assert predictor is not None
    assert (predictor.network, predictor.background) == (SEGMENTATION, 0)
    (tmp_path / "hparams_config.yaml").write_text("name: efficientdet-d0\n")
    assert exported_predictor(exported.frozen_graph) is None


def test_write_class_bundle_replaces_nothing_of_others(segmentation: TrainedClassNetwork, tmp_path: Path) -> None:
    (tmp_path / "label_map.yaml").write_text("mine")
    with pytest.raises(OptionsError, match="must not exist, or be part of an earlier export"):
        write_class_bundle(segmentation, tmp_path, [CLASS_FORMATS["frozen"]])


def test_probability_graph_serves_encoded_images_alike(segmentation: TrainedClassNetwork) -> None:
    import tensorflow as tf

    graph = segmentation.graph
    outputs = graph.serve_bytes(tf.io.encode_png(IMAGES[1]))
    plain = graph.serve(tf.constant(IMAGES[1][None]))
    for name in ("class_map", "probabilities"):
        np.testing.assert_array_equal(outputs[name], plain[name])
    with pytest.raises(TypeError, match="must be given"):
        probability_graph(segmentation.model, None)  # type: ignore[arg-type]
