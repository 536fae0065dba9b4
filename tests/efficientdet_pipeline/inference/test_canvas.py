"""Pixel canvases, letterboxed or stretched, and their normalization."""

import numpy as np
import pytest
import tensorflow as tf
from efficientdet.config import get_config
from efficientdet.preprocess import canvas_batch

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.inference.canvas import normalized, pixel_canvases


@pytest.mark.parametrize(
    "hparams", [{}, {"mean_rgb": 0.0, "stddev_rgb": 1.0, "scale_range": True}, {"mean_rgb": 127.0, "stddev_rgb": 128.0}]
)
def test_normalized_pixel_canvases_are_the_canvases_of_evaluation(hparams: dict[str, float]) -> None:
    config = get_config("efficientdet-d0", image_size="96x64", **hparams)
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (2, 50, 31, 3), np.uint8))
    expected, expected_scales = canvas_batch(images, config)
    pixels, scales = pixel_canvases(images, config)
    np.testing.assert_allclose(normalized(pixels, config), expected, atol=2e-5)
    np.testing.assert_allclose(scales, [float(expected_scales[0])] * 2)
    # Except for rounding, padding is a constant color as well.
    assert -1e-3 <= float(tf.reduce_min(pixels)) <= float(tf.reduce_max(pixels)) <= 255.001


def test_pixel_canvases_refuse_an_unknown_way() -> None:
    with pytest.raises(OptionsError, match="resize must be one of letterbox, stretch"):
        pixel_canvases(np.zeros((1, 8, 8, 3), np.uint8), get_config(image_size=64), "crop")
