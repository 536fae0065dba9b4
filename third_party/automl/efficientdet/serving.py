"""Detection from images, shared by export and in-process inference."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from jaxtyping import UInt8

from efficientdet.any_detector import AnyDetectorConfig
from efficientdet.postprocess import clip_to_images, detections
from efficientdet.preprocess import canvas_batch
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
    found = detections(config, network(canvases), scales, mode=mode)
    shape = tf.shape(images)
    return clip_to_images(found, tf.tile(shape[tf.newaxis, 1:3], [shape[0], 1]))
