"""Detection from images, shared by export and in-process inference."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from jaxtyping import UInt8

from efficientdet.any_detector import AnyDetectorConfig
from efficientdet.postprocess import clip_to_images, detections
from efficientdet.preprocess import canvas_batch, scaled_size
from efficientdet.types import Detections, Tensor


def detect(
    images: UInt8[Tensor, "b h w 3"],
    network: Callable[[Tensor], dict[str, Any]],
    config: AnyDetectorConfig,
    *,
    mode: str = "per_class",
) -> Detections:
    """Returns the detections on images of one size, in their pixels and clipped to them.

    Evaluation takes the same steps image by image, so that a served model gives
    the evaluated results.

    Args:
      images: RGB; batch size, height and width may be unknown while tracing.
      network: from canvases (b, H, W, 3), normalized, to the detector's raw outputs.
      config: of the network.
      mode: of NMS, as in `postprocess.detections`.
    """
    canvases, scales = canvas_batch(images, config)
    return _in_images(images, detections(config, network(canvases), scales, mode=mode))


def detect_with_map(
    images: UInt8[Tensor, "b h w 3"],
    network: Callable[[Tensor], dict[str, Any]],
    config: AnyDetectorConfig,
    *,
    mode: str = "per_class",
) -> tuple[Detections, UInt8[Tensor, "b h w"]]:
    """Returns the detections as `detect` does, and the class of each pixel of the images, 0 for background.

    The logits of the head segmentation are enlarged to the canvas, cut to the
    part that shows the image, and resized to its size, both bilinearly.

    Args:
      images: as for `detect`.
      network: with the head segmentation.
      config: as for `detect`; resize is letterbox.
      mode: as for `detect`.
    """
    canvases, scales = canvas_batch(images, config)
    outputs = network(canvases)
    shape = tf.shape(images)
    _, height, width = scaled_size(shape[1], shape[2], config.image_size)
    logits = tf.image.resize(outputs["segmentation"], config.image_size)[:, :height, :width]
    classes = tf.cast(tf.argmax(tf.image.resize(logits, shape[1:3]), axis=-1), tf.uint8)
    return _in_images(images, detections(config, outputs, scales, mode=mode)), classes


def _in_images(images: Tensor, found: Detections) -> Detections:
    shape = tf.shape(images)
    return clip_to_images(found, tf.tile(shape[tf.newaxis, 1:3], [shape[0], 1]))
