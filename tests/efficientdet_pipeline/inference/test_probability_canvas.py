"""Images on a fixed canvas, and probabilities back at their size."""

import numpy as np
import pytest

from efficientdet_pipeline.inference.probability_canvas import at_size_of, fitted_image


@pytest.mark.parametrize(
    ("size", "shown"), [((20, 40), (16, 32)), ((64, 16), (32, 8)), ((32, 32), (32, 32)), ((1, 99), (1, 32))]
)
def test_fitted_image_keeps_proportions_and_fills_the_rest(size: tuple[int, int], shown: tuple[int, int]) -> None:
    image = np.full((*size, 3), 200, np.uint8)
    canvas, found = fitted_image(image, (32, 32), (1.2, 2.0, 3.6))
    assert found == shown
    assert canvas.shape == (1, 32, 32, 3)
    assert (canvas[0, : shown[0], : shown[1]] == 200).all()
    if shown[0] < 32:
        assert canvas[0, -1, -1].tolist() == [1, 2, 4]


def test_at_size_of_cuts_the_padding_off_and_enlarges() -> None:
    chances = np.zeros((8, 8, 1), np.float32)
    chances[:4] = 1.0
    np.testing.assert_array_equal(at_size_of(chances, (4, 8), (8, 16)), np.ones((8, 16, 1)))
