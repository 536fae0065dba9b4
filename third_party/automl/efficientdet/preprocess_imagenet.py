"""Preprocessing of a classifier's input, as in the evaluation of EfficientNets on ImageNet. In TensorFlow.

The central square with a margin of 32 in 256, resized by TensorFlow 1's kernel
(pixel corners at integers, no antialiasing) and normalized: tensorflow/tpu,
efficientnet/preprocessing.
"""

from typing import TYPE_CHECKING

import tensorflow as tf
from jaxtyping import Float, UInt8

from efficientdet.types import Tensor

if TYPE_CHECKING:
    from efficientdet.imagenet import ImageNetConfig

CROP_PADDING = 32


def imagenet_input(
    image: UInt8[Tensor, "h w 3"], config: "ImageNetConfig", image_size: int | None = None
) -> Float[Tensor, "s s 3"]:
    """Returns the network's input for an image.

    Args:
      image: RGB, 0 to 255.
      config: from `imagenet_config`: image_size, resize_method, mean_rgb and stddev_rgb are used.
      image_size: side in pixels; None: the config's.
    """
    return normalize_rgb(imagenet_pixels(image[tf.newaxis], config, image_size)[0], config)


def imagenet_pixels(
    images: UInt8[Tensor, "b h w 3"], config: "ImageNetConfig", image_size: int | None = None
) -> Float[Tensor, "b s s 3"]:
    """Returns the network's input before normalization, 0 to 255, of images of one size; see `imagenet_input`."""
    side = image_size or config.image_size
    resize = {"bicubic": tf.raw_ops.ResizeBicubic, "bilinear": tf.raw_ops.ResizeBilinear}[config.resize_method]
    crop = central_crop(images, side)
    return resize(images=crop, size=[side, side], align_corners=False, half_pixel_centers=False)


def central_crop(images: Tensor, side: int) -> Tensor:
    """Returns the central square of an image, or of a batch: its side is side / (side + 32) of the shorter one."""
    shape = tf.shape(images)[-3:]
    shorter = tf.cast(tf.minimum(shape[0], shape[1]), tf.float32)
    # In float32 and truncated, as in the original; at least one pixel.
    crop = tf.maximum(tf.cast((side / (side + CROP_PADDING)) * shorter, tf.int32), 1)
    top, left = (shape[0] - crop + 1) // 2, (shape[1] - crop + 1) // 2
    top, left = tf.minimum(top, shape[0] - crop), tf.minimum(left, shape[1] - crop)
    return images[..., top : top + crop, left : left + crop, :]


def normalize_rgb(image: Tensor, config: "ImageNetConfig") -> Float[Tensor, "*b h w 3"]:
    """Returns (image - mean) / stddev of the config, float32."""
    return (tf.cast(image, tf.float32) - tf.constant(config.mean_rgb)) / tf.constant(config.stddev_rgb)
