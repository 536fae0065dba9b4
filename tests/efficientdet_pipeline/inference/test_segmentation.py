"""Segmentation results: maps of the image's size, exact run lengths, and polygons that cover the same pixels."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from efficientdet.unet import UNetConfig, build_unet
from PIL import Image
from pycocotools import mask as coco_mask

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.inference.segmentation import (
    area_polygons,
    class_map_of,
    coco_segments,
    segmenter,
    write_class_map,
)


def filled(polygons: list[list[float]], size: tuple[int, int]) -> np.ndarray:
    """Fills polygons along the edges of pixels by the even-odd rule, eightfold enlarged."""
    canvas = np.zeros((size[0] * 8, size[1] * 8), np.uint8)
    points = [np.rint(np.reshape(polygon, (-1, 2)) * 8 - 0.5).astype(np.int32) for polygon in polygons]
    cv2.fillPoly(canvas, points, 1)
    return canvas[4::8, 4::8] > 0


def test_area_polygons_cover_the_same_pixels() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        area = cv2.resize(generator.random((6, 7)).astype("float32"), (28, 24)) > 0.5
        polygons = area_polygons(area)
        found = filled(polygons, area.shape)
        assert (found != area).mean() < 0.02
    square = np.zeros((10, 10), bool)
    square[2:5, 3:8] = True
    [polygon] = area_polygons(square)
    assert sorted(zip(polygon[::2], polygon[1::2], strict=True)) == [(3, 2), (3, 5), (8, 2), (8, 5)]
    assert area_polygons(np.zeros((4, 4), bool)) == []


def test_coco_segments_are_exact_and_fit_json() -> None:
    class_map = np.zeros((20, 30), np.uint8)
    class_map[2:10, 3:20], class_map[12:15, 5:9] = 2, 5
    chances = np.full((20, 30, 6), 0.1)
    chances[..., 2] = 0.7
    entries = json.loads(json.dumps(coco_segments(class_map, {2: "cat"}, image_id="a.jpg", chances=chances)))
    assert [(entry["category_id"], entry["category_name"], entry["area"]) for entry in entries] == [
        (2, "cat", 136), (5, "5", 12)
    ]  # fmt: skip
    assert entries[0]["bbox"] == [3, 2, 17, 8]
    assert entries[0]["score"] == pytest.approx(0.7)
    for entry in entries:
        runs = {"size": entry["segmentation"]["size"], "counts": entry["segmentation"]["counts"].encode()}
        np.testing.assert_array_equal(coco_mask.decode(runs) > 0, class_map == entry["category_id"])
    assert len(coco_segments(class_map, {}, image_id=1, background=None)) == 3


def test_class_map_of_one_and_of_several_columns(tmp_path: Path) -> None:
    assert class_map_of(np.array([[[0.4], [0.5]]])).tolist() == [[0, 1]]
    assert class_map_of(np.array([[[0.4], [0.5]]]), threshold=0.3).tolist() == [[1, 1]]
    found = class_map_of(np.array([[[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]]))
    assert found.tolist() == [[2, 0]]
    write_class_map(tmp_path / "map.png", found)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "map.png")), found)
    assert [each.name for each in tmp_path.iterdir()] == ["map.png"]


def test_segmenter_gives_the_images_size() -> None:
    segment = segmenter(build_unet(UNetConfig(backbone_name="efficientnet-lite0")), max_side=40)
    for size in ((20, 33), (90, 50)):
        chances = segment(np.full((*size, 3), 99, np.uint8))
        assert chances.shape == (*size, 1)
        assert 0 <= chances.min() <= chances.max() <= 1
    with pytest.raises(DataError, match="must be uint8 RGB"):
        segment(np.zeros((4, 4), np.uint8))
