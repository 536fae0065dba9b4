"""Color transforms, against the Python Imaging Library, which defines them."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_pipeline.augment import color

image_ops = pytest.importorskip("PIL.ImageOps", reason="Pillow defines these operations")
image_enhance = pytest.importorskip("PIL.ImageEnhance")
pil_image = pytest.importorskip("PIL.Image")

RNG = np.random.RandomState(1)
PICTURES = {
    "noise": RNG.randint(0, 256, (40, 60, 3)).astype(np.uint8),
    "dull": np.stack([RNG.randint(low, high, (40, 60)) for low, high in ((100, 140), (5, 60), (90, 91))], -1).astype(
        np.uint8
    ),
    "flat": np.full((5, 4, 3), 200, np.uint8),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize(
    ("ours", "theirs", "tolerance"),
    [
        (color.equalize, image_ops.equalize, 0),
        (color.autocontrast, image_ops.autocontrast, 1),
        (lambda image: color.posterize(image, 3), lambda image: image_ops.posterize(image, 3), 0),
        (lambda image: color.solarize(image, 110), lambda image: image_ops.solarize(image, 110), 0),
        (lambda image: color.solarize(image, 0), image_ops.invert, 0),
        (lambda image: color.color(image, 1.9), lambda image: image_enhance.Color(image).enhance(1.9), 2),
        (lambda image: color.color(image, 0.1), lambda image: image_enhance.Color(image).enhance(0.1), 2),
        (lambda image: color.contrast(image, 0.4), lambda image: image_enhance.Contrast(image).enhance(0.4), 2),
        (lambda image: color.brightness(image, 1.6), lambda image: image_enhance.Brightness(image).enhance(1.6), 1),
        (lambda image: color.sharpness(image, 0.3), lambda image: image_enhance.Sharpness(image).enhance(0.3), 1),
        (lambda image: color.sharpness(image, 1.9), lambda image: image_enhance.Sharpness(image).enhance(1.9), 2),
    ],
)
def test_colors_are_those_of_pil(name: str, ours: Callable, theirs: Callable, tolerance: int) -> None:
    picture = PICTURES[name]
    result = ours(tf.constant(picture))
    assert result.dtype == tf.uint8
    expected = np.asarray(theirs(pil_image.fromarray(picture)))
    np.testing.assert_allclose(result.numpy().astype(int), expected.astype(int), atol=tolerance)


def test_color_last_level_of_solarize_does_not_wrap_around() -> None:
    picture = tf.constant(PICTURES["noise"])
    np.testing.assert_array_equal(color.solarize(picture, 256), picture)


def test_color_solarize_add_lifts_dark_values_and_stops_at_255() -> None:
    values = tf.constant([[[0, 127, 128]], [[200, 255, 30]]], tf.uint8)
    np.testing.assert_array_equal(color.solarize_add(values, 110), [[[110, 237, 128]], [[200, 255, 140]]])
    np.testing.assert_array_equal(color.solarize_add(values, 200)[0, 0], [200, 255, 128])


def test_color_no_bits_are_black() -> None:
    assert not color.posterize(tf.constant(PICTURES["noise"]), 0).numpy().any()


def test_color_blend_stops_at_the_ends() -> None:
    result = color.blend(tf.constant([[[0, 0, 0]]]), tf.constant([[[10, 100, 200]]]), 1.8)
    np.testing.assert_array_equal(result, [[[18, 180, 255]]])
