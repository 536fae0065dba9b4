"""The detector as a graph: photos in, boxes in photo pixels out."""

import keras
import tensorflow as tf
from efficientdet.config import DetectorConfig
from efficientdet.serving import detect
from efficientdet.types import Tensor


class ServedDetector(tf.Module):
    """A network between its pre- and post-processing, traced for any batch and any photo size.

    The same functions serve evaluation, so an export gives what was measured.
    (automl's serving suppresses boxes by another algorithm than its evaluation.)

    `serve` takes `images` (b, h, w, 3) uint8 RGB and gives boxes (b, d, 4) as
    y0 x0 y1 x1 in pixels of the images, scores (b, d), class ids (b, d), 1-based
    floats, and num_valid (b,) int32. `predict` is the network alone: normalised
    float32 canvases in, class logits and box deltas out, level by level.
    """

    def __init__(self, model: keras.Model, config: DetectorConfig, *, mode: str = "per_class"):
        super().__init__(name="detector")
        # The plain variables are what is saved: tracking the Keras model itself would write its Python structure too.
        self.weights = [variable.value for variable in model.variables]
        heads = [(head, level) for head in ("class", "box") for level in config.levels]

        @tf.function(input_signature=[tf.TensorSpec((None, *config.image_size, 3), tf.float32, name="images")])
        def predict(images: Tensor) -> tuple[Tensor, ...]:
            outputs = model(images, training=False)
            return tuple(outputs[head][level] for head, level in heads)

        def by_head(canvases: Tensor) -> dict[str, dict[int, Tensor]]:
            # Through `predict`, so that the network is traced and stored once for both.
            outputs: dict[str, dict[int, Tensor]] = {"class": {}, "box": {}}
            for (head, level), output in zip(heads, predict(canvases), strict=True):
                outputs[head][level] = output
            return outputs

        @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")])
        def serve(images: Tensor) -> tuple[Tensor, ...]:
            return tuple(detect(images, by_head, config, mode=mode))

        self.predict, self.serve = predict, serve
