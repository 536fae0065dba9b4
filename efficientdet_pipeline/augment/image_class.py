"""Augmentation of an image for classification: a random window, flips, rotation and color, onto a square.

Augmentations are functions of (image, seed).
"""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from efficientdet_pipeline.augment.sample import Sample, compose, in_dtype_of
from efficientdet_pipeline.augment.variation import Variation

_MAX_LOG_ASPECT = 0.2877
"""Natural logarithm of 4/3."""


@dataclass(frozen=True, kw_only=True)
class ClassAugmentConfig(Variation):
    """Strength of each augmentation; zeros switch off."""

    side: int
    """Of the square, in pixels."""
    area_min: float = 0.35
    """Smallest share of the image's area that a window has; 1 takes the largest window of the aspect ratio."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.area_min <= 1:
            raise ValueError(f"area_min must be above 0 and at most 1. Received {self.area_min}.")


def random_window(shape: tf.Tensor, seed: tf.Tensor, area_min: float) -> tf.Tensor:
    """Returns y, x, height, width of a window in pixels, int32 (4,) (Szegedy et al., 2015).

    Its area is drawn uniformly, its aspect ratio log-uniformly from 3:4 to 4:3; what would reach beyond the image is
    cut to it.

    Args:
      shape: height and width of the image, int32.
      seed: (2,) integers.
      area_min: smallest share of the area.
    """
    area, log_aspect, down, across = tf.unstack(tf.random.stateless_uniform((4,), seed))
    height, width = tf.unstack(tf.cast(shape, tf.float32))
    share = area_min + (1.0 - area_min) * area
    aspect = tf.exp((2.0 * log_aspect - 1.0) * _MAX_LOG_ASPECT)
    side = tf.sqrt(share * height * width)
    rows = tf.clip_by_value(tf.round(side / tf.sqrt(aspect)), 1.0, height)
    columns = tf.clip_by_value(tf.round(side * tf.sqrt(aspect)), 1.0, width)
    top, left = tf.floor(down * (height - rows + 1.0)), tf.floor(across * (width - columns + 1.0))
    # A draw just below 1 may round up.
    top, left = tf.minimum(top, height - rows), tf.minimum(left, width - columns)
    return tf.cast(tf.stack([top, left, rows, columns]), tf.int32)


def class_augmenter(config: ClassAugmentConfig) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns what makes a training input, (side, side, 3) uint8, of an image (h, w, 3), uint8 RGB, and a seed."""
    changes = [*config.flips, *config.turns]
    geometry = compose(changes) if changes else None

    def varied(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        window_seed, geometry_seed, color_seed = tf.unstack(tf.random.split(seed, 3))
        top, left, rows, columns = tf.unstack(random_window(tf.shape(image)[:2], window_seed, config.area_min))
        window = image[top : top + rows, left : left + columns]
        resized = tf.image.resize(window, (config.side, config.side), antialias=True)
        sample = Sample(
            in_dtype_of(image, tf.clip_by_value(resized, 0.0, 255.0)), tf.zeros((0, 4)), tf.zeros((0,), tf.int32)
        )
        if geometry is not None:
            sample = geometry(sample, geometry_seed)
        sample = config.in_color(sample, color_seed)
        return tf.ensure_shape(sample.image, (config.side, config.side, 3))

    return varied
