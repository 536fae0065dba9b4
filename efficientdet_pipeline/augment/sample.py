"""Samples and canvases, and the functions on boxes that all augmentations share.

Letters: `h w` height and width of an image, `H W` of the canvas, `n` objects.
An augmentation is a function `(sample, seed) -> sample`; `seed` is a (2,)
integer tensor, and the only source of randomness.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf


class Sample(NamedTuple):
    """An image and its objects."""

    image: tf.Tensor
    """(h, w, 3), uint8, or float32 of the same range; RGB."""
    boxes: tf.Tensor
    """(n, 4) float32, (y0, x0, y1, x1) in pixels of `image`, edges counted from 0 to h or w."""
    class_ids: tf.Tensor
    """(n,) int32, 1-based."""


class Canvas(NamedTuple):
    """A sample at the top left of the network's canvas, padded with zeros to the right and below."""

    image: tf.Tensor
    """(H, W, 3), dtype of the sample's image, not normalised."""
    valid_size: tf.Tensor
    """(2,) int32, rows and columns of the canvas that contain the image."""
    boxes: tf.Tensor
    """(n, 4) float32, (y0, x0, y1, x1) in pixels of the canvas."""
    class_ids: tf.Tensor
    """(n,) int32, 1-based."""


Augmentation = Callable[[Sample, tf.Tensor], Sample]


def image_size(image: tf.Tensor) -> tf.Tensor:
    """Returns (height, width) as float32 (2,)."""
    return tf.cast(tf.shape(image)[:2], tf.float32)


def in_dtype_of(image: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Returns float values from 0 to 255 in the dtype of `image`, rounded for uint8."""
    return tf.cast(values + 0.5, tf.uint8) if image.dtype == tf.uint8 else values


def box_areas(boxes: tf.Tensor) -> tf.Tensor:
    """Returns the areas (n,) of boxes (n, 4); an inverted side counts as zero."""
    return tf.reduce_prod(tf.maximum(boxes[:, 2:] - boxes[:, :2], 0.0), axis=1)


def keep_visible(sample: Sample, min_visibility: float) -> Sample:
    """Returns the sample with boxes clipped to its image, without those that are hardly visible.

    Args:
      sample: its boxes may exceed its image.
      min_visibility: minimum share of a box's area inside the image; boxes
        without area are always dropped. Class ids are filtered with the boxes.
    """
    limits = tf.tile(image_size(sample.image), [2])
    clipped = tf.clip_by_value(sample.boxes, 0.0, limits)
    left = box_areas(clipped)
    kept = (left > 0) & (left >= min_visibility * box_areas(sample.boxes))
    return sample._replace(boxes=tf.boolean_mask(clipped, kept), class_ids=tf.boolean_mask(sample.class_ids, kept))


def random_apply(change: Augmentation, probability: float) -> Augmentation:
    """Returns an augmentation that applies `change` with a probability."""
    if probability >= 1:
        return change
    if probability <= 0:
        return lambda sample, seed: sample

    def perhaps(sample: Sample, seed: tf.Tensor) -> Sample:
        chance_seed, change_seed = tf.unstack(tf.random.split(seed))
        happens = tf.random.stateless_uniform((), chance_seed) < probability
        return tf.cond(happens, lambda: change(sample, change_seed), lambda: sample)

    return perhaps


def compose(changes: Sequence[Augmentation]) -> Augmentation:
    """Returns an augmentation that applies all changes, each with its own seed."""

    def all_of_them(sample: Sample, seed: tf.Tensor) -> Sample:
        for change, own_seed in zip(changes, tf.unstack(tf.random.split(seed, len(changes))), strict=True):
            sample = change(sample, own_seed)
        return sample

    return all_of_them
