"""Predictors on artifacts of the network alone, with the pre- and post-processing of evaluation around them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from efficientdet.anchors import anchor_boxes
from efficientdet.config import DetectorConfig
from efficientdet.postprocess import clip_to_images, detections
from efficientdet.types import Detections, Tensor

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.inference.canvas import pixel_canvases

RunHeads = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Canvases (b, H, W, 3), float32 pixels 0 to 255 → logits (b, a, k) and deltas (b, a, 4)."""


class RawHeadsPredictor:
    """Detects by an artifact of raw heads.

    Args:
      run_heads: the artifact in its runtime.
      config: of the network; its pre- and post-processing are done here.
      path: of the artifact, for messages.
      mode: of suppression, as `postprocess.detections` takes it.
      resize: letterbox or stretch; None for what the network was trained with.
    """

    def __init__(
        self,
        run_heads: RunHeads,
        config: DetectorConfig,
        *,
        path: Path,
        mode: str = "per_class",
        resize: str | None = None,
    ) -> None:
        self.run_network = run_heads
        self._path = path
        self._shapes = {"logits": (len(anchor_boxes(config)), config.num_classes)}
        self._shapes["deltas"] = (self._shapes["logits"][0], 4)

        @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)], autograph=False)
        def before(images: Tensor) -> tuple[Tensor, Tensor]:
            return pixel_canvases(images, config, resize)

        heads = [tf.TensorSpec((None, *shape), tf.float32) for shape in self._shapes.values()]
        sizes = [tf.TensorSpec((2,), tf.float32), tf.TensorSpec((2,), tf.int32)]

        @tf.function(input_signature=[*heads, *sizes], autograph=False)
        def after(logits: Tensor, deltas: Tensor, scales: Tensor, size: Tensor) -> Detections:
            found = detections(config, {"class": {0: logits}, "box": {0: deltas}}, mode=mode)
            found = found._replace(boxes=found.boxes * tf.tile(scales, [2]))
            return clip_to_images(found, tf.tile(size[tf.newaxis], [tf.shape(logits)[0], 1]))

        self._before, self._after = before, after

    def detect(self, images: np.ndarray) -> Detections:
        """Returns numpy arrays: boxes in pixels of the images, best first, padded.

        Args:
          images: uint8 RGB (b, h, w, 3).

        Raises:
          DataError: the artifact's outputs are not those of this network.
        """
        canvases, scales = self._before(tf.constant(images, tf.uint8))
        logits, deltas = self.run_network(np.asarray(canvases))
        for name, array in (("logits", logits), ("deltas", deltas)):
            if array.shape[1:] != self._shapes[name]:
                raise DataError(
                    f"{self._path} must give {name} of shape (images, {', '.join(map(str, self._shapes[name]))}), as "
                    f"the network described beside it has. Received {array.shape}: it is an artifact of another "
                    "network; name the hparams_config.yaml that belongs to it, or export anew."
                )
        size = tf.constant(images.shape[1:3], tf.int32)
        found = self._after(tf.constant(logits), tf.constant(deltas), scales, size)
        return Detections(*(np.asarray(part) for part in found))
