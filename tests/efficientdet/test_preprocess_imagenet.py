"""Tests of classifier inputs: central crop, TensorFlow 1's resizing, normalization."""

import numpy as np
import pytest
from efficientdet.imagenet import imagenet_config
from efficientdet.preprocess_imagenet import central_crop, imagenet_input


def test_central_crop_keeps_the_margin_of_the_original() -> None:
    rows = np.arange(300)[:, None, None] * np.ones((1, 400, 3))
    crop = np.asarray(central_crop(rows.astype(np.float32), 224))
    assert crop.shape == (262, 262, 3)  # int(224 / 256 * 300)
    assert crop[0, 0, 0] == (300 - 262 + 1) // 2
    assert np.asarray(central_crop(np.zeros((1, 1, 3), np.uint8), 224)).shape == (1, 1, 3)


def test_preprocess_imagenet_bilinear_input_takes_corners_at_whole_numbers() -> None:
    """Row i of the result is row i * crop / side of the crop, not i + 1/2: TensorFlow 1."""
    config = imagenet_config("efficientnet-lite0")
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None], (256, 256, 3))
    found = np.asarray(imagenet_input(ramp, config, image_size=112))
    size = int(np.float32(112 / 144) * np.float32(256))
    top = (256 - size + 1) // 2
    source = np.minimum(np.arange(112) * size / 112, size - 1)
    np.testing.assert_allclose(found[:, 0, 0], (top + source - 127) / 128, atol=1e-4)


@pytest.mark.parametrize("name", ["efficientnet-b0", "efficientnet-lite0"])
def test_preprocess_imagenet_even_image_is_normalized_as_its_family_wants(name: str) -> None:
    config = imagenet_config(name)
    found = np.asarray(imagenet_input(np.full((90, 120, 3), 200, np.uint8), config))
    assert found.shape == (224, 224, 3)
    expected = (200 - np.array(config.mean_rgb)) / np.array(config.stddev_rgb)
    np.testing.assert_allclose(found[100, 100], expected, rtol=1e-4)
    advprop = imagenet_config("efficientnet-b0", advprop=True)
    np.testing.assert_allclose(np.asarray(imagenet_input(np.full((9, 9, 3), 255, np.uint8), advprop)), 1.0, atol=1e-5)
