"""Painting out a rectangle: of the whole picture, or of one object."""

import tensorflow as tf

from efficientdet_pipeline.augment.geometry import FILL
from efficientdet_pipeline.augment.rows import paste
from efficientdet_pipeline.augment.sample import Sample, image_size


def cutout(image: tf.Tensor, seed: tf.Tensor, half_side: int) -> tf.Tensor:
    """Returns the image with a grey square about a random pixel, cut off at the rim.

    Args:
      image: (h, w, 3).
      seed: (2,) integers.
      half_side: half the square's side in pixels.
    """
    center = tf.floor(tf.random.stateless_uniform((2,), seed) * image_size(image))
    return paint(image, center - half_side, center + half_side)


def box_cutout(sample: Sample, seed: tf.Tensor, fraction: float) -> Sample:
    """Returns the sample with a part of one random object painted grey.

    The rectangle is `fraction` as high and wide as the box, its centre anywhere
    inside, and it may reach beyond. Without objects nothing happens.
    """
    amounts = tf.random.stateless_uniform((3,), seed)
    num_boxes = tf.shape(sample.boxes)[0]

    def painted() -> tf.Tensor:
        chosen = tf.minimum(tf.cast(amounts[0] * tf.cast(num_boxes, tf.float32), tf.int32), num_boxes - 1)
        box = sample.boxes[chosen]
        extent = box[2:] - box[:2]
        center = box[:2] + amounts[1:] * extent
        return paint(sample.image, center - extent * (fraction / 2), center + extent * (fraction / 2))

    return sample._replace(image=tf.cond(num_boxes > 0, painted, lambda: sample.image))


def paint(image: tf.Tensor, begin: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
    """Returns the image with pixels from `begin` (y, x) up to `end` set to grey."""
    size = image_size(image)
    begin, end = (tf.cast(tf.clip_by_value(tf.floor(corner), 0.0, size), tf.int32) for corner in (begin, end))
    patch = tf.fill(tf.concat([end - begin, [3]], axis=0), tf.cast(FILL, image.dtype))
    return paste(image, patch, begin)
