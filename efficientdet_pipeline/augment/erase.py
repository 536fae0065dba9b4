"""Grid mask, cutout and augmentation within boxes."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from efficientdet_pipeline.augment.geometry import FILL, AffineOf, as_rows, move_image, paste, random_sign
from efficientdet_pipeline.augment.sample import Sample, image_size

ImageChange = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""From an image and a seed to an image of the same size."""


def change_contents(sample: Sample, seed: tf.Tensor, change: ImageChange, *, probability: float) -> Sample:
    """Returns the sample with `change` applied to the content of each box at random.

    Args:
      sample: changes of earlier boxes are visible to later ones.
      seed: (2,) integers; each box derives its own seed.
      change: applied to the content as to an image.
      probability: for each box independently.
    """
    num_boxes = tf.shape(sample.boxes)[0]
    chance_seed, change_seed = tf.unstack(tf.random.split(seed))
    happens = tf.random.stateless_uniform((num_boxes,), chance_seed) < probability
    seeds = tf.random.split(change_seed, num_boxes)
    limits = tf.tile(image_size(sample.image), [2])
    corners = tf.concat([tf.floor(sample.boxes[:, :2]), tf.math.ceil(sample.boxes[:, 2:])], axis=1)
    corners = tf.cast(tf.clip_by_value(corners, 0.0, limits), tf.int32)
    happens &= tf.reduce_all(corners[:, 2:] > corners[:, :2], axis=1)

    def changed(image: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        y0, x0, y1, x1 = tf.unstack(corners[number])
        content = change(image[y0:y1, x0:x1], seeds[number])
        return paste(image, content, (y0, x0))

    def body(number: tf.Tensor, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return number + 1, tf.cond(happens[number], lambda: changed(image, number), lambda: image)

    _, image = tf.while_loop(lambda number, image: number < num_boxes, body, (0, sample.image), parallel_iterations=1)
    return sample._replace(image=image)


def random_move(affine_of: AffineOf, amount: float) -> ImageChange:
    """Returns a change that applies the map for `amount`, with random sign, to an image."""
    return lambda image, seed: move_image(image, affine_of(image_size(image), random_sign(seed) * amount))


KEPT = 0.6
"""Width of the bars that are kept, as a fraction of the grid's period; squares between them become black."""
ROTATION = 10.0
"""Standard deviation of the grid's angle, in degrees."""
PROBABILITY = 0.5
"""Probability of a grid. automl compares it with a normal variate, which makes it about .69."""


def grid_mask(sample: Sample, seed: tf.Tensor) -> Sample:
    """Returns the sample with a grid of black squares over its image; boxes are unchanged.

    The period is drawn between .5 of the height and .3 of the width, the offset
    of the grid along each axis uniformly, its angle from a normal distribution.
    """
    uniform_seed, normal_seed = tf.unstack(tf.random.split(seed))
    amounts = tf.random.stateless_uniform((3,), uniform_seed)
    angle = tf.random.stateless_normal((), normal_seed) * (ROTATION * np.pi / 180)
    size = image_size(sample.image)
    limits = tf.floor(size * tf.constant([0.5, 0.3]))
    low, high = tf.reduce_min(limits), tf.reduce_max(limits)
    period = tf.maximum(tf.floor(low + amounts[0] * (high - low)), 2.0)
    kept = tf.clip_by_value(tf.floor(period * KEPT + 0.5), 1.0, period - 1)

    # Each pixel is looked up in the unrotated grid, so that no grid image has to be drawn and rotated.
    rows, columns = (tf.range(size[axis]) + 0.5 - size[axis] / 2 for axis in (0, 1))
    along_y = rows[:, None] * tf.cos(angle) - columns[None] * tf.sin(angle)
    along_x = rows[:, None] * tf.sin(angle) + columns[None] * tf.cos(angle)
    start_y, start_x = tf.unstack(amounts[1:] * period)
    stays = _on_bar(along_y - start_y, period, kept) | _on_bar(along_x - start_x, period, kept)
    mask = tf.repeat(tf.cast(stays, sample.image.dtype), 3, axis=1)
    return sample._replace(image=tf.reshape(as_rows(sample.image) * mask, tf.shape(sample.image)))


def _on_bar(distance: tf.Tensor, period: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    return distance - tf.floor(distance / period) * period < kept


def cutout(image: tf.Tensor, seed: tf.Tensor, half_side: int) -> tf.Tensor:
    """Returns the image with a grey square around a random pixel, clipped at the border.

    Args:
      image: (h, w, 3).
      seed: (2,) integers.
      half_side: half the square's side in pixels.
    """
    center = tf.floor(tf.random.stateless_uniform((2,), seed) * image_size(image))
    return fill_grey(image, center - half_side, center + half_side)


def box_cutout(sample: Sample, seed: tf.Tensor, fraction: float) -> Sample:
    """Returns the sample with a part of one random object filled with grey.

    The rectangle is `fraction` as high and wide as the box, its centre anywhere
    inside; it may extend beyond the box. Without objects the sample is unchanged.
    """
    amounts = tf.random.stateless_uniform((3,), seed)
    num_boxes = tf.shape(sample.boxes)[0]

    def painted() -> tf.Tensor:
        chosen = tf.minimum(tf.cast(amounts[0] * tf.cast(num_boxes, tf.float32), tf.int32), num_boxes - 1)
        box = sample.boxes[chosen]
        extent = box[2:] - box[:2]
        center = box[:2] + amounts[1:] * extent
        return fill_grey(sample.image, center - extent * (fraction / 2), center + extent * (fraction / 2))

    return sample._replace(image=tf.cond(num_boxes > 0, painted, lambda: sample.image))


def fill_grey(image: tf.Tensor, begin: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
    """Returns the image with pixels from `begin` (y, x) to `end`, exclusive, set to grey."""
    size = image_size(image)
    begin, end = (tf.cast(tf.clip_by_value(tf.floor(corner), 0.0, size), tf.int32) for corner in (begin, end))
    patch = tf.fill(tf.concat([end - begin, [3]], axis=0), tf.cast(FILL, image.dtype))
    return paste(image, patch, begin)
