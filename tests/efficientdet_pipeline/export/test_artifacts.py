"""One function loads every artifact, with the description beside it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import yaml

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.export.bundle import write_checksums
from efficientdet_pipeline.export.formats import FORMATS
from efficientdet_pipeline.export.trained_detector import TrainedDetector
from efficientdet_pipeline.inference.artifacts import check_unchanged, load_artifact
from efficientdet_pipeline.inference.predictor import detect_image, model_predictor
from efficientdet_pipeline.models.description import config_beside


@pytest.fixture(scope="module")
def folder(detector: TrainedDetector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("export")
    FORMATS["tflite"].write(detector, FORMATS["tflite"].path(place, detector.config))
    (place / "hparams_config.yaml").write_text(yaml.safe_dump(detector.config.to_hparams()))
    return place


def test_load_artifact_reads_the_description_beside_it(
    folder: Path, detector: TrainedDetector, images: list[np.ndarray]
) -> None:
    path = folder / "efficientdet-lite0.tflite"
    assert config_beside(path) == detector.config
    found = detect_image(load_artifact(path, num_threads=1), images[0])
    expected = detect_image(model_predictor(detector.model, detector.config), images[0])
    np.testing.assert_allclose(found.boxes[0], expected.boxes[0], atol=0.05)
    stretched = detect_image(load_artifact(path, resize="stretch"), images[1])
    assert len(stretched.scores)
    assert (stretched.boxes[:, 2:] <= images[1].shape[:2]).all()


def test_load_artifact_stretches_where_the_network_was_trained_so(
    folder: Path, detector: TrainedDetector, images: list[np.ndarray], tmp_path: Path
) -> None:
    config = dataclasses.replace(detector.config, resize="stretch")
    expected = detect_image(model_predictor(detector.model, config), images[1])
    found = detect_image(load_artifact(folder / "efficientdet-lite0.tflite", config), images[1])
    letterboxed = detect_image(load_artifact(folder / "efficientdet-lite0.tflite"), images[1])
    np.testing.assert_allclose(found.boxes[0], expected.boxes[0], atol=0.6)  # The file takes integer pixels.
    assert np.abs(letterboxed.boxes[0] - expected.boxes[0]).max() > 2
    (tmp_path / "hparams_config.yaml").write_text(yaml.safe_dump(config.to_hparams()))
    assert config_beside(tmp_path / "x.tflite") == config


def test_check_unchanged_finds_a_damaged_file_of_an_export(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.tflite", "a.xml", "a.bin", "saved_model/variables/v.data", "b.tflite")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(file.name.encode())
    (tmp_path / "saved_model" / "saved_model.pb").write_bytes(b"graph")
    write_checksums(tmp_path)
    places = [tmp_path / "a.tflite", tmp_path / "a.xml", tmp_path / "saved_model", tmp_path]
    for place in places:
        check_unchanged(place)
    for file in (files[0], files[2], files[3]):
        file.write_bytes(b"damaged")
    for place in places:
        with pytest.raises(DataError, match=r"must be unchanged since the export, .* copy or export it again"):
            check_unchanged(place)
    check_unchanged(tmp_path / "b.tflite")


def test_load_artifact_refuses_what_it_cannot_know(folder: Path, tmp_path: Path, detector: TrainedDetector) -> None:
    with pytest.raises(FileNotFoundError, match=r"The model .* does not exist"):
        load_artifact(tmp_path / "x.onnx")
    empty = tmp_path / "empty.tflite"
    empty.write_bytes(b"")
    with pytest.raises(DataError, match="empty file"):
        load_artifact(empty)
    alone = tmp_path / "alone.onnx"
    alone.write_bytes(b"something")
    with pytest.raises(DataError, match="description must be beside it"):
        load_artifact(alone)
    pytest.importorskip("onnxruntime")
    (tmp_path / "hparams_config.yaml").write_text(yaml.safe_dump(detector.config.to_hparams()))
    with pytest.raises(DataError, match="must be an ONNX file"):
        load_artifact(alone)
    other = dataclasses.replace(detector.config, num_classes=5)
    with pytest.raises(DataError, match="artifact of another"):
        detect_image(load_artifact(folder / "efficientdet-lite0.tflite", other), np.zeros((9, 9, 3), np.uint8))


def test_load_artifact_of_openvino_refuses_damage(tmp_path: Path, detector: TrainedDetector) -> None:
    pytest.importorskip("openvino")
    for suffix in (".xml", ".bin"):
        (tmp_path / f"x{suffix}").write_bytes(b"damaged")
    with pytest.raises(DataError, match="must be OpenVINO IR"):
        load_artifact(tmp_path / "x.xml", detector.config)


def test_load_artifact_refuses_files_of_another_canvas(tmp_path: Path, detector: TrainedDetector) -> None:
    onnx, openvino = pytest.importorskip("onnx"), pytest.importorskip("openvino")
    pytest.importorskip("onnxruntime")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    ends = {
        name: helper.make_tensor_value_info(name, kind, ["b", 32, 32, 3]) for name in ("images", "logits", "deltas")
    }
    nodes = [helper.make_node("Identity", ["images"], [name]) for name in ("logits", "deltas")]
    graph = helper.make_graph(nodes, "other", [ends["images"]], [ends["logits"], ends["deltas"]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, str(tmp_path / "other.onnx"))
    openvino.save_model(openvino.convert_model(str(tmp_path / "other.onnx")), str(tmp_path / "other.xml"))
    for name in ("other.onnx", "other.xml"):
        predictor = load_artifact(tmp_path / name, detector.config)
        with pytest.raises(DataError, match=r"It takes \(any, 32, 32, 3\): it is an artifact of another network"):
            detect_image(predictor, np.zeros((9, 9, 3), np.uint8))
