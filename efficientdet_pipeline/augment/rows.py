"""Images as rows of numbers, and patches set into images.

TensorFlow's CPU kernels are slow where numbers broadcast over a last axis of 3
(about six times). So what differs by channel is laid along whole rows.
"""

from collections.abc import Sequence

import tensorflow as tf


def as_rows(image: tf.Tensor) -> tf.Tensor:
    """Returns an image (h, w, 3) as (h, w·3)."""
    height, width = tf.unstack(tf.shape(image)[:2])
    return tf.reshape(image, (height, width * 3))


def along_rows(numbers: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    """Returns three numbers, one a channel, repeated along a row of `image`: (w·3,)."""
    return tf.tile(numbers, tf.shape(image)[1:2])


def paste(image: tf.Tensor, patch: tf.Tensor, begin: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns the image with `patch` in it, which must fit; an empty patch changes nothing.

    Args:
      image: (h, w, 3).
      patch: of the same dtype.
      begin: (y, x) of the patch's first pixel, int32; a tensor serves too.
    """
    y0, x0 = begin[0], begin[1]
    y1, x1 = y0 + tf.shape(patch)[0], x0 + tf.shape(patch)[1]
    band = tf.concat([image[y0:y1, :x0], patch, image[y0:y1, x1:]], axis=1)
    return tf.ensure_shape(tf.concat([image[:y0], band, image[y1:]], axis=0), image.shape)
