"""Flips, rotation and colors that segmentation and classification share."""

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_pipeline.augment.sample import Sample
from efficientdet_pipeline.augment.variation import Variation, random_rotation, vertical_flip


def sample() -> Sample:
    image = tf.constant(np.arange(4 * 6 * 3).reshape(4, 6, 3), tf.uint8)
    return Sample(image, tf.constant([[0.0, 1.0, 1.0, 3.0]]), tf.constant([1]))


def test_vertical_flip_moves_boxes_with_the_image() -> None:
    flipped = vertical_flip(sample(), tf.constant([0, 0]))
    np.testing.assert_array_equal(flipped.image, sample().image[::-1])
    np.testing.assert_array_equal(flipped.boxes, [[3, 1, 4, 3]])


def test_variation_without_strength_changes_nothing() -> None:
    plain = Variation(horizontal_flip=0.0)
    assert (plain.flips, plain.turns) == ([], [])
    assert plain.in_color(sample(), tf.constant([1, 2])).image is not None
    np.testing.assert_array_equal(plain.in_color(sample(), tf.constant([1, 2])).image, sample().image)


def test_variation_changes_colors_and_refuses_what_is_no_probability() -> None:
    seed = tf.constant([1, 2])
    varied = Variation(hsv_value=0.9, vertical_flip=1.0, rotation=10.0)
    assert (len(varied.flips), len(varied.turns)) == (2, 1)
    assert (varied.in_color(sample(), seed).image.numpy() != sample().image.numpy()).any()
    with pytest.raises(ValueError, match="vertical_flip must be a probability"):
        Variation(vertical_flip=1.5)


def test_random_rotation_by_nothing_keeps_the_image() -> None:
    np.testing.assert_array_equal(random_rotation(0.0)(sample(), tf.constant([3, 4])).image, sample().image)
