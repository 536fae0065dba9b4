"""Figures in a run's folder."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from efficientdet_pipeline.evaluation.analysis import Analysis, analyse
from efficientdet_pipeline.evaluation.confusion import ConfusionMatrix
from efficientdet_pipeline.evaluation.instances import flatten
from efficientdet_pipeline.report.pictures import (
    MAX_TILES,
    batch_picture,
    confusion_picture,
    labels_picture,
    write_batch_pictures,
    write_evaluation_pictures,
)

NAMES = {1: "cat $x$", 2: "猫\n<b>", 3: "a" * 90}


def decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def test_write_evaluation_pictures_draws_all_three(analysis: Analysis, tmp_path: Path) -> None:
    paths = write_evaluation_pictures(tmp_path / "new", analysis)
    assert [path.name for path in paths] == ["confusion_matrix.png", "pr_curve.png", "f1_curve.png"]
    for path in paths:
        image = decoded(path.read_bytes())
        assert image.shape[0] > 300
        assert len(np.unique(image.reshape(-1, 3), axis=0)) > 10


@pytest.mark.parametrize("num_classes", [1, 40])
def test_evaluation_pictures_of_few_and_many_classes(
    num_classes: int, make_analysis: Callable[..., Analysis], tmp_path: Path
) -> None:
    assert len(write_evaluation_pictures(tmp_path, make_analysis(10, num_classes))) == 3


def test_evaluation_pictures_of_nothing(tmp_path: Path) -> None:
    empty = analyse(flatten([], [], {1: "cat"}), {1: "cat"}, num_draws=5)
    assert len(write_evaluation_pictures(tmp_path, empty)) == 3


def test_confusion_picture_takes_any_name_and_darkens_large_shares() -> None:
    matrix = ConfusionMatrix(np.diag([5, 0, 3, 0]), (1, 2, 3))
    image = decoded(confusion_picture(matrix, NAMES, threshold=0.5))
    blue = (image[..., 2].astype(int) - image[..., 0] > 60).mean()
    empty = decoded(confusion_picture(ConfusionMatrix(np.zeros((4, 4), int), (1, 2, 3)), NAMES, threshold=0.5))
    assert blue > (empty[..., 2].astype(int) - empty[..., 0] > 60).mean()


@pytest.mark.parametrize("count", [0, 200])
def test_labels_picture_shows_classes_and_places(count: int) -> None:
    random = np.random.default_rng(0)
    corners = random.uniform(0, 0.5, (count, 2))
    boxes = np.concatenate([corners, corners + random.uniform(0, 0.5, (count, 2))], axis=1)
    image = decoded(labels_picture(boxes, random.integers(1, 60, count), NAMES))
    assert image.shape[1] > image.shape[0] > 300


def test_batch_picture_draws_boxes_on_images(tmp_path: Path) -> None:
    images = [np.zeros((40, 60, 3), np.uint8)] * (MAX_TILES + 2)
    boxes, class_ids = [np.array([[5.0, 5, 30, 50]])] * len(images), [np.array([1])] * len(images)
    plain = batch_picture(images, [np.zeros((0, 4))] * len(images), [np.zeros(0)] * len(images), NAMES)
    drawn = batch_picture(images, boxes, class_ids, NAMES, titles=["a"] * len(images))
    assert decoded(drawn).mean() > decoded(plain).mean()
    weak = batch_picture(images, boxes, class_ids, NAMES, scores=[np.array([0.2])] * len(images), min_score=0.5)
    assert decoded(weak).tobytes() == decoded(plain).tobytes()
    (path,) = write_batch_pictures(tmp_path / "pictures", {"train_batch0.jpg": drawn})
    assert path.read_bytes() == drawn
