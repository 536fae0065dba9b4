"""The detector that options name, and detection in many images."""

import logging as standard_logging
import zipfile
from pathlib import Path

import numpy as np
import pytest
from efficientdet.types import Detections

from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.inference.detector import LoadedDetector, _labels_inside, load_detector
from efficientdet_pipeline.inference.thresholds import Thresholds
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.infer import DetectorOptions
from efficientdet_pipeline.options.schema import compose


class Counting:
    """Detects a box as wide as the image's brightness, and an empty one; records batch sizes."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def detect(self, images: np.ndarray) -> Detections:
        self.batches.append(len(images))
        boxes = np.array([[[0.0, 0.0, 5.0, image[0, 0, 0]], [3.0, 3.0, 3.0, 9.0]] for image in images])
        ones = np.ones((len(images), 2))
        return Detections(boxes, 0.9 * ones, ones, np.full(len(images), 2))


def test_detect_each_batches_images_of_one_size_in_a_row() -> None:
    predictor = Counting()
    detector = LoadedDetector(predictor=predictor, label_map={}, thresholds=Thresholds(0.4))
    sizes = [(20, 20), (20, 20), (20, 20), (30, 20), (20, 20)]
    images = [(number, np.full((*size, 3), number + 1, np.uint8)) for number, size in enumerate(sizes)]
    found = list(detector.detect_each(iter(images), batch_size=2))
    assert predictor.batches == [2, 1, 1, 1]
    assert [key for key, _, _ in found] == [0, 1, 2, 3, 4]
    assert [detections.boxes.tolist() for _, _, detections in found] == [[[0, 0, 5, n + 1]] for n in range(5)]


def test_detect_each_tiles_and_leaves_classes_out() -> None:
    predictor = Counting()
    detector = LoadedDetector(predictor=predictor, label_map={}, thresholds=Thresholds(0.4), tile=(10, 10))
    assert len(detector.detect(np.full((10, 30, 3), 4, np.uint8)).scores) == len(predictor.batches) == 4
    other = LoadedDetector(predictor=predictor, label_map={}, thresholds=Thresholds(0.4), class_ids={2})
    assert len(other.detect(np.full((10, 30, 3), 4, np.uint8)).scores) == 0


def test_load_detector_takes_the_thresholds_of_the_run(copied_run: Path, caplog: pytest.LogCaptureFixture) -> None:
    def load(**options: object) -> LoadedDetector:
        return load_detector(compose(DetectorOptions, path_ckpt=str(copied_run), **options), HparamsGiven())

    assert load().thresholds == Thresholds(0.4)
    Thresholds(0.3, {2: 0.6}).write(copied_run / "thresholds.yaml")
    with caplog.at_level(standard_logging.INFO, logger="absl"):
        detector = load(tile="64x32", threads=1)
    assert detector.thresholds == Thresholds(0.3, {2: 0.6})
    assert detector.tile == (32, 64)
    assert "thresholds.yaml: square 0.60, else 0.30." in caplog.text
    with caplog.at_level(standard_logging.INFO, logger="absl"):
        assert load(min_score_thresh=0.5).thresholds == Thresholds(0.5)
        found = load(min_score_thresh=0.5, class_thresholds="star=0.2, 1=0.7").thresholds
        assert found == Thresholds(0.5, {3: 0.2, 1: 0.7})
        assert load(class_thresholds="square=0.2").thresholds == Thresholds(0.3, {2: 0.2})
    said = [message for message in caplog.messages if message.startswith("Score thresholds of -")]
    assert said == [
        "Score thresholds of --min_score_thresh: 0.50.",
        "Score thresholds of --class_thresholds: star 0.20, circle 0.70; of --min_score_thresh: else 0.50.",
        f"Score thresholds of --class_thresholds: square 0.20; of {copied_run / 'thresholds.yaml'}: else 0.30. "
        "--min_score_thresh sets one for all others.",
    ]
    with pytest.raises(OptionsError, match=r"class_thresholds must be .* Received 'moon=0.2': 'moon' is not a class"):
        load(class_thresholds="moon=0.2")


def test_load_detector_wants_one_artifact(tmp_path: Path) -> None:
    for name in ("a.tflite", "b.onnx"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(OptionsError, match=r"which contains no SavedModel; try .*a\.tflite, or one of b\.onnx\."):
        load_detector(compose(DetectorOptions, saved_model_dir=str(tmp_path)), HparamsGiven())
    with pytest.raises(MissingError, match=r"The export .* does not exist\. Similar names: .*a\.tflite\. Check"):
        load_detector(compose(DetectorOptions, saved_model_dir=str(tmp_path / "a.tflit")), HparamsGiven())


def test_labels_inside_are_those_of_mediapipes_metadata(tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    path.write_bytes(b"model")
    assert _labels_inside(path) == {}
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "cat\nso ba ka\n")
    assert _labels_inside(path) == {1: "cat", 2: "so ba ka"}
