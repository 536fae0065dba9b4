"""Each format, written at a tiny size and run by its own runtime, reproduces the checkpoint's detections."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.export.formats import FORMATS, formats_of
from efficientdet_pipeline.export.trained_detector import TrainedDetector
from efficientdet_pipeline.inference.predictor import detect_image, model_predictor
from efficientdet_pipeline.inference.results import ImageDetections
from efficientdet_pipeline.options.export import EXPORT_FORMATS, FORMAT_PACKAGES, FormatOptions
from efficientdet_pipeline.options.schema import compose

NEEDS = {"onnx": ("tf2onnx", "onnxruntime"), "openvino": ("openvino",), "openvino_int8": ("openvino", "nncf")}
SCORE = 0.3


def test_formats_are_those_of_the_help() -> None:
    assert list(FORMATS) == list(EXPORT_FORMATS)
    assert set(FORMAT_PACKAGES) == {name for name, each in FORMATS.items() if each.extra}
    assert FORMATS.keys() >= set(compose(FormatOptions).names())
    assert compose(FormatOptions, formats="onnx, frozen,onnx").names() == ["frozen", "onnx"]
    assert compose(FormatOptions, formats="all").is_quantized
    with pytest.raises(OptionsError, match=r"formats must be one of .*Received 'tflit'; did you mean tflite"):
        compose(FormatOptions, formats="tflit")


def test_names_of_all_are_those_that_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    from efficientdet_pipeline.options import export

    monkeypatch.setattr(export, "is_installed", lambda package: package != "nncf")
    chosen = compose(FormatOptions, formats="all")
    assert [name for name in FORMATS if name not in chosen.names()] == ["openvino_int8"]
    assert chosen.left_out() == {"openvino_int8": "nncf"}
    assert chosen.names(("frozen", "openvino_int8")) == ["frozen"]
    assert chosen.left_out(("frozen",)) == {}
    for formats in ("openvino_int8", "all,openvino_int8"):
        named = compose(FormatOptions, formats=formats)
        assert named.packages()["openvino_int8"] == ("openvino", "nncf")
        assert named.left_out() == {}


def missing(name: str) -> list[str]:
    extra = FORMATS[name].extra
    return [each for each in NEEDS.get(name, NEEDS.get(extra, ())) if importlib.util.find_spec(each) is None]


def written(name: str, detector: TrainedDetector, folder: Path) -> tuple[Any, Path]:
    if missing(name):
        pytest.skip(f"not installed: {', '.join(missing(name))}")
    each = FORMATS[name]
    path = each.path(folder, detector.config)
    each.write(detector, path)
    assert {found.name for found in folder.iterdir()} == set(each.files(detector.config))
    return each, path


@pytest.fixture(scope="module")
def expected(detector: TrainedDetector, images: list[np.ndarray]) -> list[ImageDetections]:
    checkpoint = model_predictor(detector.model, detector.config)
    return [detect_image(checkpoint, image).above(SCORE) for image in images[:2]]


@pytest.mark.parametrize(
    ("name", "num_images"),
    # The second image is resized, and TFLite files take integer pixels.
    [("saved_model", 2), ("frozen", 2), ("tflite", 1), ("onnx", 2), ("openvino", 2)],
)
def test_formats_detect_what_the_checkpoint_detects(
    name: str,
    num_images: int,
    detector: TrainedDetector,
    images: list[np.ndarray],
    expected: list[ImageDetections],
    tmp_path: Path,
) -> None:
    each, path = written(name, detector, tmp_path)
    assert each.load is not None
    predictor = each.load(path, detector.config)
    for image, wanted in list(zip(images, expected, strict=False))[:num_images]:
        found = detect_image(predictor, image).above(SCORE - 0.01)
        assert len(wanted.scores) > 5
        for box, score, class_id in wanted.above(SCORE + 0.01).rows():
            near = (np.abs(found.boxes - box).max(axis=1) < 0.05) & (found.class_ids == class_id)
            assert near.any()
            assert np.abs(found.scores[near] - score).min() < 2e-3


@pytest.mark.parametrize(
    ("name", "decibels", "bytes_per_weight"),
    [
        # A random network amplifies rounding: all runtimes have the same ratios, and trained networks reach more.
        ("tflite_fp16", 25, 2.6),
        ("openvino_fp16", 25, 2.6),
        ("openvino_bf16", 10, 2.6),
        ("tflite_int8", 5, 1.6),
        ("tflite_int16x8", 5, 1.6),
        pytest.param("openvino_int8", 5, 1.6, marks=pytest.mark.slow),
    ],
)
def test_formats_of_fewer_bits_are_small_and_near(
    name: str, decibels: float, bytes_per_weight: float, detector: TrainedDetector, tmp_path: Path
) -> None:
    if missing(name):
        pytest.skip(f"not installed: {', '.join(missing(name))}")
    path = FORMATS[name].path(tmp_path, detector.config)
    ratios: Any = FORMATS[name].write(detector, path)
    assert min(ratios.values()) > decibels
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert size < bytes_per_weight * detector.model.count_params()


def test_formats_of_names() -> None:
    assert [each.name for each in formats_of(["onnx", "frozen"])] == ["frozen", "onnx"]
    for names in (["savedmodel"], []):
        with pytest.raises(OptionsError, match=r"formats must be one or more of saved_model, frozen, tflite"):
            formats_of(names)
