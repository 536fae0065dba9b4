"""Test-time augmentation."""

import numpy as np
import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.evaluation.views import View, detect_in_views, in_image, show, views, without_doubles
from efficientdet_pipeline.inference.results import ImageDetections


def bright_box(image: np.ndarray) -> ImageDetections:
    """Returns the bounding box of the white pixels, as a detector would."""
    rows, columns = np.nonzero((image == 255).all(axis=-1))
    box = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
    return ImageDetections(np.array([box], float), np.array([0.8]), np.array([1]), source_id="a")


def test_detect_in_views_finds_the_same_box_in_each() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[5:20, 10:30] = 255
    shown = views(mirror=True, scales=(1.0, 0.5))
    assert len(shown) == 4
    for view in shown:
        found = in_image(bright_box(show(image, view)), view, (40, 60))
        assert found.boxes.tolist() == [[5, 10, 20, 30]]
    fused = detect_in_views(image, [bright_box, bright_box], shown)
    np.testing.assert_allclose(fused.boxes, [[5, 10, 20, 30]])
    np.testing.assert_allclose(fused.scores, [0.8])


def test_in_image_drops_what_lies_on_the_ground_around() -> None:
    found = ImageDetections(
        np.array([[50.0, 70, 60, 80], [0, 0, 10, 90]]), np.array([0.5, 0.4]), np.array([1, 2]), source_id="a"
    )
    kept = in_image(found, View(False, 0.5), (40, 60))
    assert (kept.boxes.tolist(), kept.class_ids.tolist()) == ([[0, 0, 10, 60]], [2])


@pytest.mark.parametrize("scales", [(), (0.0,), (1.5,)])
def test_views_of_other_scales_are_refused(scales: tuple[float, ...]) -> None:
    with pytest.raises(OptionsError, match="must be above 0 and at most 1"):
        views(mirror=False, scales=scales)


def test_without_doubles_keeps_the_best_box_of_an_object() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9], [50, 50, 60, 60], [5, 5, 5, 5]])
    found = ImageDetections(boxes, np.array([0.3, 0.9, 0.5, 0.2, 0.1]), np.array([1, 1, 2, 1, 1]), source_id="7")
    kept = without_doubles(found)
    assert kept.source_id == "7"
    assert kept.scores.tolist() == [0.9, 0.5, 0.2, 0.1]
    assert kept.class_ids.tolist() == [1, 2, 1, 1]
    assert (
        len(without_doubles(ImageDetections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), source_id="7")).scores)
        == 0
    )


def test_equal_detectors_agree_with_one_of_them() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 40, 40]])
    found = ImageDetections(boxes, np.array([0.9, 0.3, 0.5]), np.array([1, 1, 1]), source_id="")
    fused = detect_in_views(np.zeros((50, 50, 3), np.uint8), [lambda image: found] * 2, [View()])
    np.testing.assert_allclose(fused.boxes, boxes[[0, 2]])
    np.testing.assert_allclose(fused.scores, [0.9, 0.5])
