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
    images = np.random.default_rng(0).integers(0, 256, (2, 50, 31, 3), np.uint8)
    expected, expected_scales = canvas_batch(images, config)
    pixels, scales = pixel_canvases(images, config)
    np.testing.assert_allclose(normalized(pixels, config), expected, atol=2e-5)
    np.testing.assert_allclose(scales, [float(expected_scales[0])] * 2)
    assert 0.0 <= pixels.min() <= pixels.max() <= 255.0


@pytest.mark.parametrize("size", [(50, 31), (20, 90), (96, 64), (64, 96), (1, 300), (700, 3)])
def test_pixel_canvases_pad_with_the_mean_color_exactly(size: tuple[int, int]) -> None:
    config = get_config("efficientdet-d0", image_size="96x64")
    images = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    pixels, scales = pixel_canvases(images, config)
    expected, _ = canvas_batch(tf.constant(images), config)
    is_padding = np.all(np.asarray(expected) == 0.0, axis=-1)
    assert pixels.shape == (2, 64, 96, 3)
    assert np.all(pixels[is_padding] == np.float32(config.mean_rgb))
    np.testing.assert_allclose(scales[0], max(size[0] / 64, size[1] / 96), rtol=1e-6)


def test_pixel_canvases_refuse_an_unknown_way() -> None:
    with pytest.raises(OptionsError, match="resize must be one of letterbox, stretch"):
        pixel_canvases(np.zeros((1, 8, 8, 3), np.uint8), get_config(image_size=64), "crop")
