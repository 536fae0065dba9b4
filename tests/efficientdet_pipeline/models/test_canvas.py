"""A canvas has the proportions of the images, and no more pixels than the square."""

import numpy as np
import pytest

from efficientdet_pipeline.models.canvas import MULTIPLE, SIDES_WITH_ACCELERATOR, Canvas, fit_canvas


@pytest.mark.parametrize(
    ("sizes", "canvas"),
    [
        ([(480, 640)], (224, 288)),
        ([(640, 480)], (288, 224)),
        ([(500, 500)], (256, 256)),
        ([(480, 640), (640, 480)], (256, 256)),
        ([(480, 640)] * 9 + [(640, 480)], (224, 288)),
        # Not more oblong than two to one.
        ([(100, 900)], (192, 320)),
        ([], (256, 256)),
        ([(0, 0)], (256, 256)),
    ],
)
def test_fit_canvas_follows_the_images(sizes: list[tuple[int, int]], canvas: tuple[int, int]) -> None:
    image_sizes = np.array(sizes).reshape(-1, 2)
    assert fit_canvas(image_sizes, 256, resize="letterbox") == canvas
    assert fit_canvas(image_sizes, 256, resize="stretch") == (256, 256)


@pytest.mark.parametrize("side", SIDES_WITH_ACCELERATOR)
def test_fit_canvas_has_no_more_pixels_than_the_square(side: int) -> None:
    for sizes in np.random.default_rng(side).integers(50, 2000, (20, 3, 2)):
        height, width = fit_canvas(sizes, side, resize="letterbox")
        assert height * width <= side**2
        assert height % MULTIPLE == width % MULTIPLE == 0


def test_canvas_is_a_value_of_image_size() -> None:
    assert str(Canvas(height=224, width=288, smallest_side=1.0)) == "288x224"
    assert str(Canvas(height=256, width=256, smallest_side=1.0)) == "256"
    with pytest.raises(ValueError, match="smallest_side"):
        Canvas(height=256, width=256, smallest_side=float("nan"))
