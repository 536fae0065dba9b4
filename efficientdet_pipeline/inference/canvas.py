"""Pixel canvases: images resized to a network's canvas, for artifacts that contain the normalization."""

import tensorflow as tf
from efficientdet.config import RESIZES
from efficientdet.preprocess import Canvas, CanvasConfig, canvas_batch
from efficientdet.types import Tensor

from efficientdet_pipeline.errors import OptionsError


def pixel_canvases(images: Tensor, config: CanvasConfig, resize: str | None = None) -> tuple[Tensor, Tensor]:
    """Returns images resized to the canvas, before normalization, and their scales.

    Args:
      images: RGB (b, h, w, 3), 0 to 255, all of one size.
      config: its image_size, mean_rgb, stddev_rgb and scale_range are used.
      resize: one of `RESIZES`; None for the network's own.

    Returns:
      Canvases (b, H, W, 3), float32, 0 to 255, padded with the mean color, and
      the original pixels per canvas pixel, (2,): vertical and horizontal.

    Raises:
      OptionsError: an unknown `resize`.
    """
    resize = resize or config.resize
    if resize not in RESIZES:
        raise OptionsError(f"resize must be one of {', '.join(RESIZES)}. Received {resize!r}.", option="resize")
    if resize == "stretch":
        canvases = tf.image.resize(images, config.image_size, method="bilinear")
        size = tf.cast(tf.shape(images)[1:3], tf.float32)
        return canvases, size / tf.constant(config.image_size, tf.float32)
    # With the mean subtracted, padding is zero; adding the mean back makes it the mean color.
    pixels = Canvas(image_size=config.image_size, mean_rgb=config.mean_rgb)
    canvases, scales = canvas_batch(images, pixels)
    return canvases + _per_channel(config.mean_rgb), tf.stack([scales[0], scales[0]])


def normalized(pixels: Tensor, config: CanvasConfig) -> Tensor:
    """Returns the normalized network inputs of pixel canvases, with one multiplication and one addition.

    Args:
      pixels: from `pixel_canvases`.
      config: its mean_rgb, stddev_rgb and scale_range are used.
    """
    scale = 1.0 / _per_channel(config.stddev_rgb)
    offset = -_per_channel(config.mean_rgb) * scale
    if config.scale_range:
        scale, offset = scale * (2.0 / 255.0), offset * (2.0 / 255.0) - 1.0
    return pixels * scale + offset


def _per_channel(value: float | tuple[float, ...]) -> Tensor:
    return tf.broadcast_to(tf.constant(value, tf.float32), (3,))
