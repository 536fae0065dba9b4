"""Augmentation for classification: windows within the image, functions of the seed, and switches."""

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_pipeline.augment.image_class import ClassAugmentConfig, class_augmenter, random_window

IMAGE = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(30, 50), (1, 1), (200, 3)])
def test_random_window_lies_within_the_image(shape: tuple[int, int]) -> None:
    for number in range(40):
        top, left, rows, columns = random_window(tf.constant(shape), tf.constant([0, number]), 0.35).numpy().tolist()
        assert min(top, left) >= 0
        assert min(rows, columns) >= 1
        assert (top + rows, left + columns) <= shape
        if shape == (30, 50):
            assert rows * columns >= 0.3 * 1500


def test_class_augmenter_is_a_function_of_the_seed_eagerly_and_in_a_graph() -> None:
    config = ClassAugmentConfig(side=16, vertical_flip=0.5, rotation=20, hsv_hue=0.1, hsv_saturation=0.3, hsv_value=0.3)
    vary = class_augmenter(config)
    seeds = [tf.constant([3, number], tf.int64) for number in range(3)]
    eager = [vary(tf.constant(IMAGE), seed).numpy() for seed in seeds]
    graph = tf.function(vary)
    assert eager[0].shape == (16, 16, 3)
    assert eager[0].dtype == np.uint8
    for seed, expected in zip(seeds, eager, strict=True):
        np.testing.assert_array_equal(graph(tf.constant(IMAGE), seed).numpy(), expected)
    assert not np.array_equal(eager[0], eager[1])


def test_class_augmenter_without_chance_resizes_the_image() -> None:
    vary = class_augmenter(ClassAugmentConfig(side=30, area_min=1.0, horizontal_flip=0.0))
    square = IMAGE[:, :30]
    windows = {vary(tf.constant(square), tf.constant([0, number], tf.int64)).numpy().shape for number in range(3)}
    assert windows == {(30, 30, 3)}


def test_class_augment_config_refuses_an_area_of_nothing() -> None:
    with pytest.raises(ValueError, match="area_min must be above 0"):
        ClassAugmentConfig(side=16, area_min=0.0)
