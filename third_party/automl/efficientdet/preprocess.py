"""Image preprocessing: decodes, resizes, normalizes and pads images to the network's canvas. In TensorFlow.

An image keeps its aspect ratio and lies in the top left corner of the canvas; the
rest has the mean color. With resize=stretch it fills the canvas. Evaluation,
export and inference use these functions, so that a detector always gets the same
pixels.
"""

from dataclasses import dataclass
from typing import Protocol

import tensorflow as tf
from jaxtyping import Float, UInt8

from efficientdet.types import Tensor


class CanvasConfig(Protocol):
    """Fields of a network's config that preprocessing reads."""

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the canvas in pixels."""

    @property
    def resize(self) -> str:
        """letterbox or stretch."""

    @property
    def mean_rgb(self) -> float | tuple[float, ...]:
        """Subtracted from pixel values 0 to 255."""

    @property
    def stddev_rgb(self) -> float | tuple[float, ...]:
        """Divisor after the subtraction of the mean."""

    @property
    def scale_range(self) -> bool:
        """Whether inputs are scaled to -1…1 instead."""


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """A canvas without a network."""

    image_size: tuple[int, int]
    resize: str = "letterbox"
    mean_rgb: float | tuple[float, ...] = 0.0
    stddev_rgb: float | tuple[float, ...] = 1.0
    scale_range: bool = False


def decode_image(encoded: Tensor) -> UInt8[Tensor, "h w 3"]:
    """Returns the RGB pixels of an encoded image: JPEG, PNG, BMP, GIF (its first frame) or WebP.

    Training, evaluation and serving of encoded images use it. JPEGs are decoded
    with the accurate integer DCT, the default of Pillow, OpenCV and
    libjpeg-turbo; TensorFlow's default is a faster one whose pixels differ in
    every file, so that a detector would be trained and used on different pixels.

    Args:
      encoded: the file's bytes, a scalar string.
    """
    pixels = tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_image(encoded, channels=3, expand_animations=False),
    )
    return tf.ensure_shape(pixels, (None, None, 3))


def fit_to_canvas(
    image: UInt8[Tensor, "h w 3"] | Float[Tensor, "h w 3"], config: CanvasConfig
) -> tuple[Float[Tensor, "H W 3"], Tensor]:
    """Returns the network's input for one image, and its scale.

    Args:
      image: RGB, 0 to 255.
      config: image_size, resize, mean_rgb, stddev_rgb and scale_range are used.

    Returns:
      The normalized canvas, float32, and the number of original pixels per
      canvas pixel, float32: boxes on the canvas times `per_corner(scale)` are
      boxes on the image. A scalar, or with resize=stretch (2,), vertically and
      horizontally.
    """
    canvas, scales = canvas_batch(image[tf.newaxis], config)
    return canvas[0], scales[0]


def canvas_batch(
    images: UInt8[Tensor, "b h w 3"] | Float[Tensor, "b h w 3"], config: CanvasConfig
) -> tuple[Float[Tensor, "b H W 3"], Float[Tensor, "b ..."]]:
    """Returns the network's inputs for images of one size, and their scales.

    For serving: the number of images and their size may be unknown while
    tracing.

    Args:
      images: RGB, 0 to 255.
      config: as for `fit_to_canvas`.

    Returns:
      As `fit_to_canvas`, with a batch axis.
    """
    canvas_height, canvas_width = config.image_size
    shape = tf.shape(images)
    if _stretches(config):
        height, width = canvas_height, canvas_width
    else:
        scale, height, width = scaled_size(shape[1], shape[2], config.image_size)
    resized = tf.image.resize(images, (height, width), method="bilinear")
    # After resizing, on fewer pixels; both are linear, so the order does not change the result.
    normalized = (resized - _per_channel(config.mean_rgb)) / _per_channel(config.stddev_rgb)
    canvas = tf.pad(normalized, [[0, 0], [0, canvas_height - height], [0, canvas_width - width], [0, 0]])
    if config.scale_range:
        # automl: the padding of AdvProp checkpoints is -1, so padding comes before this.
        canvas = canvas * (2.0 / 255.0) - 1.0
    canvas = tf.ensure_shape(canvas, (None, canvas_height, canvas_width, 3))
    if _stretches(config):
        scales = tf.cast(shape[1:3], tf.float32) / tf.constant(config.image_size, tf.float32)
        return canvas, tf.tile(scales[tf.newaxis], [shape[0], 1])
    return canvas, tf.fill(shape[:1], 1.0 / scale)


def per_corner(scale: Tensor) -> Tensor:
    """Returns the scale of an image as a factor of boxes (n, 4): a scalar as it is, (2,) repeated for both corners."""
    return tf.tile(scale, [2]) if scale.shape.rank else scale


def fit_boxes_to_canvas(
    boxes_unit: Float[Tensor, "n 4"], image_shape: Tensor, config: CanvasConfig
) -> Float[Tensor, "n 4"]:
    """Returns the boxes of an image in canvas pixels.

    Boxes are clipped to the last pixel of the canvas. Some may then have no
    area; the caller drops them.

    Args:
      boxes_unit: as fractions, 0 to 1, of the image's height and width.
      image_shape: height and width of the image in pixels; further entries are
        ignored, so that the shape of the image can be given.
      config: image_size and resize are used.
    """
    height, width = config.image_size
    if not _stretches(config):
        _, height, width = scaled_size(image_shape[0], image_shape[1], config.image_size)
    boxes = boxes_unit * tf.cast(tf.stack([height, width, height, width]), tf.float32)
    last = tf.constant([side - 1 for side in config.image_size] * 2, tf.float32)
    return tf.clip_by_value(boxes, 0.0, last)


def scaled_size(height: Tensor, width: Tensor, canvas: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the scale, height and width with which an image fits the canvas.

    Args:
      height: of the image in pixels.
      width: of the image in pixels.
      canvas: height and width of the canvas in pixels.
    """
    height, width = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    # automl: all in float32, including the rounding. 165x100 on 512 px becomes 511x310 for that reason.
    scale = tf.minimum(canvas[0] / height, canvas[1] / width)
    scaled_height, scaled_width = (tf.cast(side * scale, tf.int32) for side in (height, width))
    # An image a thousand times as wide as high still has one row of pixels.
    return scale, tf.maximum(scaled_height, 1), tf.maximum(scaled_width, 1)


def _per_channel(value: float | tuple[float, ...]) -> Tensor:
    return tf.broadcast_to(tf.constant(value, tf.float32), (3,))


def _stretches(config: CanvasConfig) -> bool:
    # `config` may be any object with a canvas and a normalization; without the field `resize` it means letterbox.
    return getattr(config, "resize", "letterbox") == "stretch"
