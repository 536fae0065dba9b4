"""Test-time augmentation."""

import numpy as np
import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.evaluation.truth import DetectedImage
from efficientdet_pipeline.evaluation.views import View, detect_in_views, in_image, show, views


def bright_box(image: np.ndarray) -> DetectedImage:
    """Returns the bounds of what is white, as a detector would."""
    rows, columns = np.nonzero((image == 255).all(axis=-1))
    box = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
    return DetectedImage("a", np.array([box], float), np.array([0.8]), np.array([1]))


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
    found = DetectedImage("a", np.array([[50.0, 70, 60, 80], [0, 0, 10, 90]]), np.array([0.5, 0.4]), np.array([1, 2]))
    kept = in_image(found, View(False, 0.5), (40, 60))
    assert (kept.boxes.tolist(), kept.class_ids.tolist()) == ([[0, 0, 10, 60]], [2])


@pytest.mark.parametrize("scales", [(), (0.0,), (1.5,)])
def test_views_of_other_scales_are_refused(scales: tuple[float, ...]) -> None:
    with pytest.raises(OptionsError, match="must be above 0 and at most 1"):
        views(mirror=False, scales=scales)
