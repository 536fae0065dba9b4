"""From an image of any size to the network's canvas: scale jitter, padding, normalising.

A random scale stretches the image (aspect kept), a random window of canvas size
is cut from it, and what is smaller than the canvas lies at its top left. The
numbers, and where they are truncated, are google/automl's.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from efficientdet_pipeline.augment.geometry import as_rows
from efficientdet_pipeline.augment.sample import Canvas, Sample, in_dtype_of, keep_visible

OVERSHOOTING = ("bicubic", "lanczos3", "lanczos5", "mitchellcubic")
"""Ways to resize that leave the range of the pixels beside sharp edges."""


class Window(NamedTuple):
    """The part of an image that the canvas will show, and how large."""

    source: tf.Tensor
    """(4,) int32, (y0, x0, y1, x1) in whole pixels of the image."""
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
    """Returns a random window into an image.

    The scale is drawn from [jitter_min, jitter_max), where 1 means an image that
    just fits the canvas, and the window's place along each axis on its own. With
    both limits 1 the window is the whole image, as evaluation sees it.

    The window is snapped to whole pixels of the image (it moves by half a pixel
    at most), so that a crop and one resize of the crop make the image; boxes
    follow the snapped window exactly.

    Args:
      photo_size: (height, width), int32 (2,).
      seed: (2,) integers.
      canvas_size: (height, width) in pixels.
      jitter_min: smallest scale.
      jitter_max: largest scale.
      keeps_proportions: whether both sides have one scale; otherwise 1 means that both fill the canvas.
    """
    amounts = tf.random.stateless_uniform((3,), seed)
    jitter = jitter_min + amounts[0] * (jitter_max - jitter_min)
    source_size = tf.cast(source_size, tf.float32)
    # In float32 and truncated twice, as automl does: a rounding elsewhere would move 511 to 512.
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
    """Returns what the window shows, at the window's size on the canvas.

    Bilinear between pixel centres, without antialiasing, as automl resizes;
    another `method` of `tf.image.resize` where it is named.
    Boxes are clipped at the window's edges (automl stops one pixel short of the
    far ones), and those with less than `min_visibility` of their area left are
    dropped.
    """
    y0, x0, y1, x1 = tf.unstack(window.source)
    image = tf.image.resize(sample.image[y0:y1, x0:x1], window.size, method=method)
    if method in OVERSHOOTING:
        image = tf.clip_by_value(image, 0.0, 255.0)
    begin, extent = tf.cast([y0, x0], tf.float32), tf.cast([y1 - y0, x1 - x0], tf.float32)
    scale = tf.cast(window.size, tf.float32) / extent
    boxes = (sample.boxes - tf.tile(begin, [2])) * tf.tile(scale, [2])
    return keep_visible(Sample(in_dtype_of(sample.image, image), boxes, sample.class_ids), min_visibility)


def pad_to_canvas(sample: Sample, canvas_size: tuple[int, int]) -> Canvas:
    """Returns the sample at the top left of a canvas of zeros; it must not be larger."""
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
    """Returns float32 images as the network takes them, padding as the mean colour.

    Works on one canvas (H, W, 3) with (2,), and on a batch (b, H, W, 3) with
    (b, 2).

    Args:
      images: uint8 or float32, 0 to 255.
      valid_sizes: rows and columns that show the image.
      mean: of each channel, 0 to 255; one number serves all.
      std: likewise.
      scale_range: afterwards x·2/255 − 1, padding included; networks trained
        with AdvProp want it, with mean 0 and std 1.
    """
    height, width = images.shape[-3:-1]
    # Laid along the rows for speed; see rows.py.
    mean_row, std_row = (tf.tile(tf.broadcast_to(tf.cast(each, tf.float32), (3,)), (width,)) for each in (mean, std))
    flat = tf.reshape(images, tf.concat([tf.shape(images)[:-2], [width * 3]], 0))
    values = (tf.cast(flat, tf.float32) - mean_row) * (1.0 / std_row)
    rows, columns = tf.range(height) < valid_sizes[..., :1], tf.range(width * 3) < 3 * valid_sizes[..., 1:]
    padded = tf.reshape(tf.where(rows[..., :, None] & columns[..., None, :], values, 0.0), tf.shape(images))
    return padded * (2.0 / 255.0) - 1.0 if scale_range else padded
