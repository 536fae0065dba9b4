"""Geometric transforms of images and boxes: flips, crops, rotations."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from efficientdet_pipeline.augment.sample import Sample, image_size, keep_visible


def as_rows(image: tf.Tensor) -> tf.Tensor:
    """Returns an image (h, w, 3) as (h, w·3)."""
    height, width = tf.unstack(tf.shape(image)[:2])
    return tf.reshape(image, (height, width * 3))


def along_rows(numbers: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    """Returns three numbers, one per channel, repeated along a row of `image`: (w·3,)."""
    return tf.tile(numbers, tf.shape(image)[1:2])


def paste(image: tf.Tensor, patch: tf.Tensor, begin: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns the image with `patch` pasted in, which must fit; an empty patch changes nothing.

    Args:
      image: (h, w, 3).
      patch: of the same dtype.
      begin: (y, x) of the patch's first pixel, int32 or tensors.
    """
    y0, x0 = begin[0], begin[1]
    y1, x1 = y0 + tf.shape(patch)[0], x0 + tf.shape(patch)[1]
    band = tf.concat([image[y0:y1, :x0], patch, image[y0:y1, x1:]], axis=1)
    return tf.ensure_shape(tf.concat([image[:y0], band, image[y1:]], axis=0), image.shape)


def horizontal_flip(sample: Sample, seed: tf.Tensor) -> Sample:
    """Returns the sample flipped horizontally; not random."""
    del seed
    width = image_size(sample.image)[1]
    top, left, bottom, right = tf.unstack(sample.boxes, axis=1)
    return sample._replace(
        image=tf.reverse(sample.image, axis=[1]),
        boxes=tf.stack([top, width - right, bottom, width - left], axis=1),
    )


FILL = 128


class Affine(NamedTuple):
    """Affine map of the content: `matrix @ (y, x) + shift`."""

    matrix: tf.Tensor
    """(2, 2)."""
    shift: tf.Tensor
    """(2,) in pixels."""


AffineOf = Callable[[tf.Tensor, tf.Tensor], Affine]
"""From an image's size (2,) and an amount to an affine map."""


def rotation(size: tf.Tensor, degrees: tf.Tensor) -> Affine:
    """Returns a rotation around the image's centre, counter-clockwise."""
    angle = degrees * (np.pi / 180)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    matrix = tf.reshape(tf.stack([cosine, -sine, sine, cosine]), (2, 2))
    return Affine(matrix, size / 2 - tf.linalg.matvec(matrix, size / 2))


def shear_x(size: tf.Tensor, factor: tf.Tensor) -> Affine:
    """Returns a map that shifts each row by `factor` of its distance from the top."""
    del size
    return Affine(tf.eye(2) + factor * tf.constant([[0.0, 0.0], [1.0, 0.0]]), tf.zeros(2))


def shear_y(size: tf.Tensor, factor: tf.Tensor) -> Affine:
    """Returns a map that shifts each column by `factor` of its distance from the left."""
    del size
    return Affine(tf.eye(2) + factor * tf.constant([[0.0, 1.0], [0.0, 0.0]]), tf.zeros(2))


def translation_x(size: tf.Tensor, pixels: tf.Tensor) -> Affine:
    """Returns a shift to the right."""
    del size
    return Affine(tf.eye(2), pixels * tf.constant([0.0, 1.0]))


def translation_y(size: tf.Tensor, pixels: tf.Tensor) -> Affine:
    """Returns a shift downwards."""
    del size
    return Affine(tf.eye(2), pixels * tf.constant([1.0, 0.0]))


def move(sample: Sample, affine: Affine, *, min_visibility: float) -> Sample:
    """Returns the sample with its image and boxes transformed.

    A box becomes the axis-aligned hull of its transformed corners. It is dropped if
    less than `min_visibility` of the hull is inside the image: automl keeps a
    sliver at the border instead, where nothing is visible.
    """
    moved = sample._replace(image=move_image(sample.image, affine), boxes=move_boxes(sample.boxes, affine))
    return keep_visible(moved, min_visibility)


def move_boxes(boxes: tf.Tensor, affine: Affine) -> tf.Tensor:
    """Returns the axis-aligned hulls (n, 4) of transformed boxes; they may exceed the image."""
    corners = tf.reshape(tf.gather(boxes, [0, 1, 0, 3, 2, 1, 2, 3], axis=1), (-1, 4, 2))
    moved = tf.linalg.matvec(affine.matrix, corners) + affine.shift
    return tf.concat([tf.reduce_min(moved, axis=1), tf.reduce_max(moved, axis=1)], axis=1)


def move_image(image: tf.Tensor, affine: Affine) -> tf.Tensor:
    """Returns the transformed image (h, w, 3), of the same size."""
    back = tf.linalg.inv(affine.matrix)
    # The operation maps output indices to input indices, and an index is the centre of a pixel.
    half = tf.constant([0.5, 0.5])
    offset = tf.linalg.matvec(back, half - affine.shift) - half
    x_to_x, y_to_x, x_to_y, y_to_y = back[1, 1], back[1, 0], back[0, 1], back[0, 0]
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=[[x_to_x, y_to_x, offset[1], x_to_y, y_to_y, offset[0], 0.0, 0.0]],
        output_shape=tf.shape(image)[:2],
        interpolation="NEAREST",
        fill_mode="CONSTANT",
        fill_value=float(FILL),
    )[0]
    return tf.ensure_shape(moved, image.shape)


def random_sign(seed: tf.Tensor) -> tf.Tensor:
    """Returns 1 or -1."""
    return tf.where(tf.random.stateless_uniform((), seed) < 0.5, 1.0, -1.0)


def move_by(affine_of: AffineOf, amount: float, *, min_visibility: float) -> Callable[[Sample, tf.Tensor], Sample]:
    """Returns an augmentation that applies the map for `amount`, with random sign."""

    def change(sample: Sample, seed: tf.Tensor) -> Sample:
        affine = affine_of(image_size(sample.image), random_sign(seed) * amount)
        return move(sample, affine, min_visibility=min_visibility)

    return change
