"""Affine maps: known points are mapped correctly, and boxes outside the image are dropped."""

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_pipeline.augment import geometry
from efficientdet_pipeline.augment.geometry import FILL, move, move_boxes, move_image
from efficientdet_pipeline.augment.sample import Sample

SIZE = tf.constant([100.0, 200.0])


@pytest.mark.parametrize(
    ("affine", "expected"),
    [
        (geometry.translation_x(SIZE, 5.0), [10, 25, 30, 65]),
        (geometry.translation_y(SIZE, -5.0), [5, 20, 25, 60]),
        (geometry.shear_x(SIZE, 0.1), [10, 21, 30, 63]),
        (geometry.shear_y(SIZE, 0.1), [12, 20, 36, 60]),
        (geometry.rotation(SIZE, 180.0), [70, 140, 90, 180]),
        (geometry.rotation(SIZE, 90.0), [90, 60, 130, 80]),
    ],
)
def test_geometry_boxes_go_where_the_map_says(affine: geometry.Affine, expected: list[float]) -> None:
    moved = move_boxes(tf.constant([[10.0, 20.0, 30.0, 60.0]]), affine)
    np.testing.assert_allclose(moved, [expected], atol=1e-3)


def test_geometry_half_turn_is_two_mirrors() -> None:
    image = tf.constant(np.random.RandomState(0).randint(0, 256, (7, 10, 3)).astype(np.uint8))
    turned = move_image(image, geometry.rotation(tf.constant([7.0, 10.0]), 180.0))
    np.testing.assert_array_equal(turned, image[::-1, ::-1])


def test_geometry_shift_leaves_grey_behind() -> None:
    image = tf.constant(np.random.RandomState(0).randint(0, 100, (6, 8, 3)).astype(np.uint8))
    shifted = move_image(image, geometry.translation_x(SIZE, 3.0)).numpy()
    np.testing.assert_array_equal(shifted[:, 3:], image[:, :-3])
    assert (shifted[:, :3] == FILL).all()


@pytest.mark.parametrize(("min_visibility", "kept"), [(0.0, [1, 2]), (0.3, [2])])
def test_geometry_hardly_visible_boxes_are_dropped_with_their_labels(min_visibility: float, kept: list[int]) -> None:
    sample = Sample(
        tf.zeros((20, 40, 3), tf.uint8),
        tf.constant([[0.0, 28.0, 10.0, 38.0], [5.0, 5.0, 9.0, 9.0], [0.0, 35.0, 4.0, 40.0]]),
        tf.constant([1, 2, 3]),
    )
    moved = move(sample, geometry.translation_x(SIZE, 10.0), min_visibility=min_visibility)
    np.testing.assert_array_equal(moved.class_ids, kept)
    np.testing.assert_allclose(moved.boxes[-1], [5, 15, 9, 19])
    assert moved.boxes.numpy().max() <= 40
