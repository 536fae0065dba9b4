"""Pixel canvases: images resized to a network's canvas, for artifacts that contain the normalization."""

import numpy as np
import tensorflow as tf
from efficientdet.config import RESIZES
from efficientdet.preprocess import CanvasConfig, scaled_size
from efficientdet.types import Tensor

from efficientdet_pipeline.errors import OptionsError


def pixel_canvases(
    images: np.ndarray, config: CanvasConfig, resize: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns images resized to the canvas, before normalization, and their scales.

    Args:
      images: RGB (b, h, w, 3), 0 to 255, all of one size.
      config: its image_size, mean_rgb, stddev_rgb and scale_range are used.
      resize: one of `RESIZES`; None for the network's own.

    Returns:
      Canvases (b, H, W, 3), float32, 0 to 255, padded with the mean color, and
      the original pixels per canvas pixel, float32 (2,): vertical and horizontal.

    Raises:
      OptionsError: an unknown `resize`.
    """
    resize = resize or config.resize
    if resize not in RESIZES:
        raise OptionsError(f"resize must be one of {', '.join(RESIZES)}. Received {resize!r}.", option="resize")
    size = images.shape[1:3]
    if resize == "stretch":
        resized = _resized(images, config.image_size)
        return resized, np.divide(size, config.image_size, dtype=np.float32)
    scale, height, width = (np.asarray(each) for each in scaled_size(size[0], size[1], config.image_size))
    # Filled in numpy: a graph that subtracts the mean, pads, and adds it again takes twice the time.
    canvases = np.empty((len(images), *config.image_size, 3), np.float32)
    canvases[:, :height, :width] = _resized(images, (int(height), int(width)))
    canvases[:, height:] = config.mean_rgb
    canvases[:, :height, width:] = config.mean_rgb
    return canvases, np.full(2, 1.0 / scale, np.float32)


def _resized(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(tf.image.resize(images, size, method="bilinear"))


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
