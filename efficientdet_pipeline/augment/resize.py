"""Resizing to the network's canvas: scale jitter, padding, normalization.

An image is resized by a random scale (aspect ratio kept), a random window of
canvas size is cropped, and a smaller result is placed at the top left. The
numbers, and the truncations, are those of google/automl.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from efficientdet_pipeline.augment.geometry import as_rows
from efficientdet_pipeline.augment.sample import Canvas, Sample, in_dtype_of, keep_visible

OVERSHOOTING = ("bicubic", "lanczos3", "lanczos5", "mitchellcubic")
"""Resize methods that may exceed the range of the pixels near sharp edges."""


class Window(NamedTuple):
    """A part of an image, and its size on the canvas."""

    source: tf.Tensor
    """(4,) int32, (y0, x0, y1, x1) in integer pixels of the image."""
    size: tf.Tensor
    """(2,) int32, height and width on the canvas, in pixels."""


def jitter_window(
    source_size: tf.Tensor,
    seed: tf.Tensor,
    *,
    canvas_size: tuple[int, int],
    jitter_min: float,
    jitter_max: float,
    keeps_proportions: bool = True,
) -> Window:
    """Returns a random window of an image.

    The scale is drawn from [jitter_min, jitter_max), where 1 fits the image into
    the canvas, and the window's position along each axis independently. With
    both limits 1 the window is the whole image, as in evaluation.

    The window is rounded to integer pixels of the image (it moves by at most half
    a pixel), so that one crop and one resize give the result; boxes use the
    rounded window exactly.

    Args:
      source_size: (height, width), int32 (2,).
      seed: (2,) integers.
      canvas_size: (height, width) in pixels.
      jitter_min: smallest scale.
      jitter_max: largest scale.
      keeps_proportions: whether both sides have the same scale; otherwise a scale of 1 fills the canvas.
    """
    amounts = tf.random.stateless_uniform((3,), seed)
    jitter = jitter_min + amounts[0] * (jitter_max - jitter_min)
    source_size = tf.cast(source_size, tf.float32)
    # In float32 and truncated twice, as in automl: another rounding would change 511 to 512.
    target = tf.floor(jitter * tf.constant(canvas_size, tf.float32))
    scale = target / source_size
    scaled = tf.floor(source_size * tf.reduce_min(scale)) if keeps_proportions else target
    scaled = tf.maximum(scaled, 1.0)
    offset = tf.floor(tf.maximum(scaled - tf.constant(canvas_size, tf.float32), 0.0) * amounts[1:])
    shown = tf.minimum(scaled, tf.constant(canvas_size, tf.float32))
    begin = tf.minimum(tf.round(offset * source_size / scaled), source_size - 1)
    end = tf.clip_by_value(tf.round((offset + shown) * source_size / scaled), begin + 1, source_size)
    return Window(source=tf.cast(tf.concat([begin, end], 0), tf.int32), size=tf.cast(shown, tf.int32))


def crop_window(sample: Sample, window: Window, *, min_visibility: float, method: str = "bilinear") -> Sample:
    """Returns the content of the window, resized to its size on the canvas.

    Bilinear between pixel centres, without antialiasing, as in automl;
    `method` selects another method of `tf.image.resize`.
    Boxes are clipped at the window's edges (automl stops one pixel short of the
    far ones), and those with less than `min_visibility` of their area left are
    dropped.
    """
    y0, x0, y1, x1 = tf.unstack(window.source)
    content = sample.image[y0:y1, x0:x1]
    if method == "bilinear":
        image = resize_bilinear(content, window.size)
    else:
        image = tf.image.resize(content, window.size, method=method)
    if method in OVERSHOOTING:
        image = tf.clip_by_value(image, 0.0, 255.0)
    begin, extent = tf.cast([y0, x0], tf.float32), tf.cast([y1 - y0, x1 - x0], tf.float32)
    scale = tf.cast(window.size, tf.float32) / extent
    boxes = (sample.boxes - tf.tile(begin, [2])) * tf.tile(scale, [2])
    return keep_visible(Sample(in_dtype_of(sample.image, image), boxes, sample.class_ids), min_visibility)


def resize_bilinear(image: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Returns an image (h, w, 3), uint8 or float32, at `size`, float32: the numbers of `tf.image.resize`.

    On a CPU TensorFlow resizes float32 in two thirds of the time of uint8, converting included, unless the
    image has more than twice as many pixels as the result.
    """
    return tf.cond(
        tf.reduce_prod(tf.shape(image)[:2]) <= 2 * tf.reduce_prod(size),
        lambda: tf.image.resize(tf.cast(image, tf.float32), size),
        lambda: tf.image.resize(image, size),
    )


def pad_to_canvas(sample: Sample, canvas_size: tuple[int, int]) -> Canvas:
    """Returns the sample at the top left of a canvas of zeros; the sample must not be larger."""
    valid_size = tf.shape(sample.image)[:2]
    below, beside = tf.unstack(tf.constant(canvas_size) - valid_size)
    padded = tf.pad(as_rows(sample.image), [[0, below], [0, beside * 3]])
    return Canvas(tf.reshape(padded, (*canvas_size, 3)), valid_size, sample.boxes, sample.class_ids)


def normalize(
    images: tf.Tensor,
    valid_sizes: tf.Tensor,
    *,
    mean: float | Sequence[float],
    std: float | Sequence[float],
    scale_range: bool = False,
) -> tf.Tensor:
    """Returns float32 network inputs; padding has the mean colour.

    Works on one canvas (H, W, 3) with (2,), and on a batch (b, H, W, 3) with
    (b, 2).

    Args:
      images: uint8 or float32, 0 to 255.
      valid_sizes: rows and columns that contain the image.
      mean: per channel, 0 to 255; a single number is used for all.
      std: likewise.
      scale_range: rescale to x·2/255 − 1, padding included; for networks trained
        with AdvProp, with mean 0 and std 1.
    """
    height, width = images.shape[-3:-1]
    # Repeated along the rows for speed; see `geometry.as_rows`.
    mean_row, std_row = (tf.tile(tf.broadcast_to(tf.cast(each, tf.float32), (3,)), (width,)) for each in (mean, std))
    flat = tf.reshape(images, tf.concat([tf.shape(images)[:-2], [width * 3]], 0))
    values = (tf.cast(flat, tf.float32) - mean_row) * (1.0 / std_row)
    rows, columns = tf.range(height) < valid_sizes[..., :1], tf.range(width * 3) < 3 * valid_sizes[..., 1:]
    padded = tf.reshape(tf.where(rows[..., :, None] & columns[..., None, :], values, 0.0), tf.shape(images))
    return padded * (2.0 / 255.0) - 1.0 if scale_range else padded
