"""Mirroring."""

import tensorflow as tf

from efficientdet_pipeline.augment.sample import Sample, image_size


def mirror(sample: Sample, seed: tf.Tensor) -> Sample:
    """Returns the sample mirrored left to right; chance has no part in it."""
    del seed
    width = image_size(sample.image)[1]
    top, left, bottom, right = tf.unstack(sample.boxes, axis=1)
    return sample._replace(
        image=tf.reverse(sample.image, axis=[1]),
        boxes=tf.stack([top, width - right, bottom, width - left], axis=1),
    )
