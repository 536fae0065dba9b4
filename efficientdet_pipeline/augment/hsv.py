"""Random hue, saturation and brightness, as one-stage detectors use them since YOLO."""

import tensorflow as tf

from efficientdet_pipeline.augment.sample import Sample, in_dtype_of


def hsv_jitter(sample: Sample, seed: tf.Tensor, *, hue: float, saturation: float, value: float) -> Sample:
    """Returns the sample in slightly other colours; boxes stay.

    Args:
      sample: uint8 or float32, 0 to 255.
      seed: (2,) integers.
      hue: largest turn, as a part of the colour circle.
      saturation: largest change, as a part of itself; 0.7 means ×0.3 to ×1.7.
      value: likewise for the brightness.
    """
    turn, saturate, brighten = tf.unstack(tf.random.stateless_uniform((3,), seed, -1.0, 1.0))
    image = tf.cast(sample.image, tf.float32)
    if hue:
        image = tf.image.adjust_hue(image, hue * turn)
    if saturation:
        image = tf.image.adjust_saturation(image, 1 + saturation * saturate)
    if value:
        image = tf.clip_by_value(image * (1 + value * brighten), 0.0, 255.0)
    return sample._replace(image=in_dtype_of(sample.image, image))
