"""Warning of JPEGs whose data end early: TensorFlow decodes the rest as grey without a message."""

import numpy as np
import tensorflow as tf
from absl import logging

from tfrmod.image_file import check_image
from tfrmod.image_headers import ImageError

_GREY = 128
"""What libjpeg gives for pixels without data."""
_checked: set[int] = set()


def warn_if_damaged(image: tf.Tensor, encoded: tf.Tensor, name: tf.Tensor) -> tf.Tensor:
    """Returns the decoded image; if it is of a JPEG without much of its data, a warning names it, once.

    Only images that end in grey are looked at more closely, so that the others cost nothing.

    Args:
      image: (h, w, 3) uint8.
      encoded: the file's bytes, a scalar string.
      name: of the image, a scalar string.
    """
    shape = tf.shape(image)
    # Not a stateful function: a pipeline with one is not parallel where operations are deterministic.
    shape = tf.cond(
        tf.reduce_all(image[-1, -1] == _GREY),
        lambda: tf.ensure_shape(tf.numpy_function(_look, [encoded, name, shape], tf.int32, stateful=False), (3,)),
        lambda: shape,
    )
    return tf.ensure_shape(tf.reshape(image, shape), (None, None, 3))


def _look(encoded: bytes, name: bytes, shape: np.ndarray) -> np.ndarray:
    if hash(encoded) not in _checked:
        _checked.add(hash(encoded))
        try:
            check_image(encoded)
        except ImageError as error:
            logging.warning(
                "The image %s is damaged, and what is missing is grey: %s. Convert the images again without "
                "--no_verify, which leaves it out.",
                name.decode("utf-8", "replace") or "of a record without a file name",
                error,
            )
    return shape
