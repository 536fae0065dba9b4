"""Color transforms: HSV jitter, and the color operations of AutoAugment."""

import tensorflow as tf

from efficientdet_pipeline.augment.geometry import along_rows, as_rows
from efficientdet_pipeline.augment.sample import Sample, in_dtype_of


def hsv_jitter(sample: Sample, seed: tf.Tensor, *, hue: float, saturation: float, value: float) -> Sample:
    """Returns the sample with jittered hue, saturation and brightness; boxes are unchanged.

    Args:
      sample: uint8 or float32, 0 to 255.
      seed: (2,) integers.
      hue: maximum rotation, as a fraction of the colour circle.
      saturation: maximum relative change; 0.7 means ×0.3 to ×1.7.
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


def autocontrast(image: tf.Tensor) -> tf.Tensor:
    """Returns the image with each channel stretched to 0…255; a constant channel is unchanged."""
    low, high = (tf.cast(reduce(image, axis=(0, 1)), tf.float32) for reduce in (tf.reduce_min, tf.reduce_max))
    varied = high > low
    scale = tf.where(varied, 255.0 / tf.maximum(high - low, 1.0), 1.0)
    shift = tf.where(varied, -low * scale, 0.0)
    values = tf.cast(as_rows(image), tf.float32)
    stretched = values * along_rows(scale, image) + along_rows(shift, image)
    return tf.reshape(_to_uint8(stretched), tf.shape(image))


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Returns the image with the histogram of each channel equalized; a channel of few levels is unchanged."""
    # The 256 levels of the channels are concatenated, so that one count and one look-up serve all three.
    levels = tf.cast(as_rows(image), tf.int32) + along_rows(tf.constant([0, 256, 512]), image)
    counts = tf.math.bincount(tf.reshape(levels, [-1]), minlength=768, maxlength=768)
    histogram = tf.reshape(counts, (3, 256))
    last_used = 255 - tf.argmax(tf.cast(tf.reverse(histogram, [1]) > 0, tf.int32), axis=1, output_type=tf.int32)
    step = (tf.reduce_sum(histogram, axis=1) - tf.gather(histogram, last_used, batch_dims=1)) // 255
    safe_step = tf.maximum(step, 1)[:, None]
    table = tf.minimum((tf.cumsum(histogram, axis=1, exclusive=True) + safe_step // 2) // safe_step, 255)
    table = tf.where(step[:, None] > 0, table, tf.range(256))
    return tf.reshape(tf.gather(tf.reshape(tf.cast(table, tf.uint8), [-1]), levels), tf.shape(image))


def posterize(image: tf.Tensor, bits: int) -> tf.Tensor:
    """Returns the image with the top `bits` of each value kept; 0 gives black."""
    return tf.bitwise.bitwise_and(image, tf.constant(256 - 2 ** (8 - bits) if bits else 0, tf.uint8))


def solarize(image: tf.Tensor, threshold: int) -> tf.Tensor:
    """Returns the image with values of at least `threshold` inverted to 255 − value.

    A threshold of 256 leaves it unchanged (as uint8 it would wrap to 0 and invert
    everything, as it does in automl).
    """
    if threshold > 255:
        return image
    bright = tf.cast(image >= tf.constant(threshold, tf.uint8), tf.uint8)
    return tf.bitwise.bitwise_xor(image, bright * 255)


def solarize_add(image: tf.Tensor, addition: int) -> tf.Tensor:
    """Returns the image with `addition` added to every value below 128, at most 255."""
    dark = tf.cast(image < 128, tf.uint8)
    return image + tf.minimum(255 - image, tf.constant(addition, tf.uint8)) * dark


def color(image: tf.Tensor, factor: float) -> tf.Tensor:
    """Returns the image blended with its grey version: 0 is grey, 1 unchanged; larger factors extrapolate."""
    grey = tf.constant([0.299, 0.587, 0.114])[:, None]
    matrix = factor * tf.eye(3) + (1 - factor) * tf.tile(grey, (1, 3))
    return _to_uint8(tf.tensordot(tf.cast(image, tf.float32), matrix, axes=1))


def contrast(image: tf.Tensor, factor: float) -> tf.Tensor:
    """Returns the image blended with its mean grey: 0 is the mean, 1 unchanged; larger factors extrapolate."""
    grey = tf.cast(tf.image.rgb_to_grayscale(image), tf.float32)
    return blend(tf.round(tf.reduce_mean(grey)), image, factor)


def brightness(image: tf.Tensor, factor: float) -> tf.Tensor:
    """Returns the image blended with black: 0 is black, 1 unchanged; larger factors extrapolate."""
    return blend(tf.zeros(()), image, factor)


def sharpness(image: tf.Tensor, factor: float) -> tf.Tensor:
    """Returns the image blended with a smoothed version (0); 1 is unchanged; border pixels are kept."""
    values = tf.cast(image, tf.float32)
    kernel = tf.constant([[1, 1, 1], [1, 5, 1], [1, 1, 1]], tf.float32) / 13.0
    smooth = tf.nn.depthwise_conv2d(
        values[None], tf.tile(kernel[:, :, None, None], (1, 1, 3, 1)), strides=(1, 1, 1, 1), padding="SAME"
    )[0]
    height, width = tf.unstack(tf.shape(image)[:2])
    rows, columns = ((tf.range(extent) > 0) & (tf.range(extent) < extent - 1) for extent in (height, width))
    inside = rows[:, None, None] & columns[None, :, None]
    return blend(tf.where(inside, smooth, values), image, factor)


def blend(first: tf.Tensor, second: tf.Tensor, factor: float) -> tf.Tensor:
    """Returns `first` for factor 0, `second` for 1, interpolated or extrapolated otherwise, as uint8."""
    first, second = tf.cast(first, tf.float32), tf.cast(second, tf.float32)
    return _to_uint8(first + (second - first) * factor)


def _to_uint8(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(values, 0.0, 255.0) + 0.5, tf.uint8)
