"""GridMask (Chen et al. 2020): a turned grid of squares is blotted out."""

import numpy as np
import tensorflow as tf

from efficientdet_pipeline.augment.rows import as_rows
from efficientdet_pipeline.augment.sample import Sample, image_size

KEPT = 0.6
"""Width of the bars that stay, as a part of the grid's period; squares between them turn black."""
ROTATION = 10.0
"""Standard deviation of the grid's angle, in degrees."""
PROBABILITY = 0.5
"""That a photo gets a grid. automl compares it with a normal variate, which makes about .69 of it."""


def grid_mask(sample: Sample, seed: tf.Tensor) -> Sample:
    """Returns the sample with a grid of black squares over its image; boxes stay.

    The period is drawn between .5 of the height and .3 of the width, the place
    of the grid along each axis evenly, its angle from a normal distribution.
    """
    uniform_seed, normal_seed = tf.unstack(tf.random.split(seed))
    amounts = tf.random.stateless_uniform((3,), uniform_seed)
    angle = tf.random.stateless_normal((), normal_seed) * (ROTATION * np.pi / 180)
    size = image_size(sample.image)
    limits = tf.floor(size * tf.constant([0.5, 0.3]))
    low, high = tf.reduce_min(limits), tf.reduce_max(limits)
    period = tf.maximum(tf.floor(low + amounts[0] * (high - low)), 2.0)
    kept = tf.clip_by_value(tf.floor(period * KEPT + 0.5), 1.0, period - 1)

    # Each pixel is looked up in the upright grid, so no picture of a grid need be drawn and turned.
    rows, columns = (tf.range(size[axis]) + 0.5 - size[axis] / 2 for axis in (0, 1))
    along_y = rows[:, None] * tf.cos(angle) - columns[None] * tf.sin(angle)
    along_x = rows[:, None] * tf.sin(angle) + columns[None] * tf.cos(angle)
    start_y, start_x = tf.unstack(amounts[1:] * period)
    stays = _on_bar(along_y - start_y, period, kept) | _on_bar(along_x - start_x, period, kept)
    mask = tf.repeat(tf.cast(stays, sample.image.dtype), 3, axis=1)
    return sample._replace(image=tf.reshape(as_rows(sample.image) * mask, tf.shape(sample.image)))


def _on_bar(distance: tf.Tensor, period: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    return distance - tf.floor(distance / period) * period < kept
