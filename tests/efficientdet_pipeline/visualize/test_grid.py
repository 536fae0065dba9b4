"""Several images on one sheet."""

import numpy as np
import pytest

from efficientdet_pipeline.inference.results import ImageDetections
from efficientdet_pipeline.visualize import grid
from efficientdet_pipeline.visualize.boxes import class_color
from efficientdet_pipeline.visualize.grid import contact_sheet, draw_comparison, resize_to_fit


@pytest.mark.parametrize("size", [(50, 100), (100, 50), (1000, 2000), (1, 400)])
def test_grid_tile_has_the_asked_side_and_its_boxes_follow(size: tuple[int, int]) -> None:
    height, width = size
    tile, boxes = resize_to_fit(np.zeros((height, width, 3), np.uint8), np.array([[0, 0, height, width]]), 200)
    assert max(tile.shape[:2]) == 200
    np.testing.assert_allclose(boxes, [[0, 0, *tile.shape[:2]]])


def test_grid_sheet_holds_every_image_unchanged() -> None:
    images = [np.full((20 + 5 * number, 30, 3), 10 * number, np.uint8) for number in range(5)]
    sheet = contact_sheet(images, columns=3)
    for image in images:
        assert (sheet == image[0, 0]).all(axis=-1).sum() == image[..., 0].size
    assert contact_sheet(images, titles=list("abcde")).shape[0] > contact_sheet(images).shape[0]


def test_grid_sheet_title_of_a_narrow_image_is_whole() -> None:
    dark = []
    for width in (3, 300):
        sheet = contact_sheet([np.full((300, width, 3), 255, np.uint8)], titles=["one class → another 42%"])
        dark.append((sheet < 255).any(axis=-1).sum())
    assert dark[0] == dark[1] > 0
    assert sheet.shape[1] < 320


def test_grid_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        contact_sheet([])


def test_grid_truth_stands_left_and_detections_right() -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    truth = np.array([[10, 10, 50, 70]]), np.array([1])
    found = ImageDetections(np.array([[12, 12, 50, 70]]), np.array([0.9]), np.array([2]))
    sheet = draw_comparison(image, truth, found, label_map={1: "cat", 2: "dog"}, min_score=0.4, longest_side=240)
    left, right = np.array_split(sheet, 2, axis=1)
    for half, there, not_there in ((left, 1, 2), (right, 2, 1)):
        assert (half == class_color(there)).all(axis=-1).any()
        assert not (half == class_color(not_there)).all(axis=-1).any()


def test_grid_comparison_without_a_drawn_detection_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[list[str]] = []
    real = grid.contact_sheet
    monkeypatch.setattr(
        grid, "contact_sheet", lambda *args, **named: titles.append(named["titles"]) or real(*args, **named)
    )
    boxes = np.array([[12, 12, 50, 70]])
    for score in (0.33, 0.9):
        found = ImageDetections(boxes, np.array([score]), np.array([2]))
        truth = boxes, np.array([1])
        draw_comparison(np.zeros((60, 80, 3), np.uint8), truth, found, label_map={2: "dog"}, min_score=0.4)
    assert [right for _, right in titles] == ["nothing found above 0.4 (best: dog 0.33)", "detections above 0.4"]
