"""Large images are detected by tiles, each object once."""

import time

import numpy as np
import pytest
from efficientdet.types import Detections

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.inference.tiling import detect_tiled


class BlobPredictor:
    """Detects the bounding box of each color, brighter ones with a higher score; counts its calls."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def detect(self, images: np.ndarray) -> Detections:
        self.shapes.append(images.shape)
        rows = [self._one(image[..., 0]) for image in images]
        return Detections(*(np.stack(part) for part in zip(*rows, strict=True)))

    def _one(self, image: np.ndarray) -> tuple[np.ndarray, ...]:
        boxes, scores = np.zeros((9, 4), np.float32), np.zeros(9, np.float32)
        values = sorted(set(image.ravel().tolist()) - {0}, reverse=True)
        for row, value in enumerate(values):
            ys, xs = np.nonzero(image == value)
            boxes[row], scores[row] = [ys.min(), xs.min(), ys.max() + 1, xs.max() + 1], value / 255
        return boxes, scores, np.ones(9, np.float32) * (scores > 0), np.int32(len(values))


def scene() -> np.ndarray:
    image = np.zeros((100, 260, 3), np.uint8)
    image[10:20, 10:30] = 200
    image[40:60, 70:95] = 150  # across the edge of the first tile
    image[90:100, 250:260] = 100
    return image


@pytest.mark.parametrize("batch_size", [1, 3])
def test_detect_tiled_finds_each_object_once_and_whole(batch_size: int) -> None:
    predictor = BlobPredictor()
    found = detect_tiled(predictor, scene(), tile=(80, 80), overlap=0.4, batch_size=batch_size)
    assert found.boxes.tolist() == [[10, 10, 20, 30], [40, 70, 60, 95], [90, 250, 100, 260]]
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert {shape[1:3] for shape in predictor.shapes} == {(80, 80)}
    assert sum(shape[0] for shape in predictor.shapes) == 2 * 5


class Candidates:
    """An object across the edge of two tiles, seen in part by both, and boxes of very low scores in each."""

    def detect(self, images: np.ndarray) -> Detections:
        left, right = [[20.0, 40, 60, 80], [25.0, 35, 65, 79]], [[20.0, 0, 60, 40], [25.0, 1, 65, 42]]
        boxes = np.array([left, right][: len(images)], np.float32)
        scores = np.tile(np.array([0.9, 0.05], np.float32), (len(images), 1))
        return Detections(boxes, scores, np.ones_like(scores), np.full(len(images), 2))


def test_detect_tiled_keeps_a_cut_object_that_only_bad_boxes_cover() -> None:
    found = detect_tiled(Candidates(), np.zeros((80, 120, 3), np.uint8), tile=(80, 80), overlap=0.5, batch_size=2)
    assert found.scores[0] == pytest.approx(0.9)
    assert found.boxes[0].tolist() == [20, 40, 60, 80]
    assert (found.scores > 0.5).sum() == 1


def test_detect_tiled_merges_the_boxes_of_many_tiles_quickly() -> None:
    class Crowd:
        def detect(self, images: np.ndarray) -> Detections:
            random = np.random.default_rng(len(images))
            corners = random.uniform(0, 90, (len(images), 100, 2)).astype(np.float32)
            boxes = np.concatenate([corners, corners + 8], axis=-1)
            scores = -np.sort(-random.uniform(0, 1, (len(images), 100)).astype(np.float32))
            return Detections(boxes, scores, np.ones_like(scores), np.full(len(images), 100))

    began = time.process_time()
    found = detect_tiled(Crowd(), np.zeros((500, 500, 3), np.uint8), tile=(100, 100), overlap=0.2, batch_size=100)
    assert 500 < len(found.scores) < 3_600
    assert time.process_time() - began < 10


def test_detect_tiled_of_a_small_image_is_one_tile() -> None:
    predictor = BlobPredictor()
    assert len(detect_tiled(predictor, scene(), tile=(640, 640)).scores) == 3
    assert predictor.shapes == [(1, 100, 260, 3)]


def test_detect_tiled_of_classes() -> None:
    assert not len(detect_tiled(BlobPredictor(), scene(), tile=(80, 80), class_ids=[7]).scores)


@pytest.mark.parametrize(("tile", "overlap"), [((0, 80), 0.2), ((80, 80), 0.95)])
def test_detect_tiled_refuses(tile: tuple[int, int], overlap: float) -> None:
    with pytest.raises(OptionsError, match="tile must be 1 pixel or more"):
        detect_tiled(BlobPredictor(), scene(), tile=tile, overlap=overlap)
