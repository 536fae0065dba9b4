"""Serving graph of a detector: images or encoded bytes in, boxes in image pixels out."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from efficientdet.any_detector import AnyDetectorConfig
from efficientdet.inference_form import output_keys
from efficientdet.preprocess import decode_image
from efficientdet.serving import detect, detect_with_map
from efficientdet.types import Detections, Tensor


class ServedDetector(tf.Module):
    """A network with its pre- and post-processing, with one function per signature.

    The same functions are used in evaluation, so an export reproduces its metrics.
    (automl's serving uses another suppression algorithm than its evaluation.)

    serve: `images` uint8 RGB (b, h, w, 3) of any size → boxes (b, d, 4) as y0 x0
    y1 x1 in pixels of the images, scores (b, d), class ids (b, d), 1-based
    floats, and num_valid (b,) int32; of a network with the head segmentation also the class of each pixel (b, h, w)
    uint8, 0 for background. serve_bytes: `image_bytes` string (b,),
    encoded images of any sizes → the same. predict: `images` float32, normalized
    canvases → class logits and box deltas, level by level.

    Args:
      network: from canvases to raw outputs, such as the inference form.
      config: of the network.
      mode: of non-maximum suppression, as in `postprocess.detections`.
      batch_size: fixed number of images, if any.
    """

    def __init__(
        self,
        network: Callable[[Tensor], dict[str, Any]],
        config: AnyDetectorConfig,
        *,
        mode: str = "per_class",
        batch_size: int | None = None,
    ) -> None:
        super().__init__(name="detector")
        self.network = network
        self.has_map = "segmentation" in config.heads

        @tf.function(
            input_signature=[tf.TensorSpec((batch_size, None, None, 3), tf.uint8, name="images")], autograph=False
        )
        def serve(images: Tensor) -> tuple[Tensor, ...]:
            if self.has_map:
                found, semantic_map = detect_with_map(images, network, config, mode=mode)
                return (*found, semantic_map)
            return tuple(detect(images, network, config, mode=mode))

        def one(encoded: Tensor) -> Detections:
            found = detect(decode_image(encoded)[tf.newaxis], network, config, mode=mode)
            return Detections(*(part[0] for part in found))

        @tf.function(input_signature=[tf.TensorSpec((batch_size,), tf.string, name="image_bytes")], autograph=False)
        def serve_bytes(image_bytes: Tensor) -> tuple[Tensor, ...]:
            # One by one, because images of different sizes cannot be batched.
            types = Detections(tf.float32, tf.float32, tf.float32, tf.int32)
            return tuple(tf.map_fn(one, image_bytes, fn_output_signature=types))

        canvas = tf.TensorSpec((batch_size, *config.image_size, 3), tf.float32, name="images")

        @tf.function(input_signature=[canvas], autograph=False)
        def predict(images: Tensor) -> tuple[Tensor, ...]:
            outputs = network(images)
            return tuple(
                outputs[head] if level is None else outputs[head][level] for head, level in output_keys(outputs)
            )

        self.serve, self.serve_bytes, self.predict = serve, serve_bytes, predict
