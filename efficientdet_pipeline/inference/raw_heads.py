"""Predictors on artifacts with raw outputs, with the pre- and post-processing of evaluation."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from efficientdet.anchors import anchor_boxes
from efficientdet.any_detector import AnyDetectorConfig
from efficientdet.config import DetectorConfig
from efficientdet.postprocess import clip_to_images, detections
from efficientdet.types import Detections, Tensor

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.inference.canvas import pixel_canvases

RunHeads = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Canvases (b, H, W, 3), float32 pixels 0 to 255 → logits (b, a, k) and deltas (b, a, 4)."""


def check_images(path: Path, taken: Sequence[object], images: np.ndarray) -> None:
    """Raises DataError if an artifact takes images of another shape.

    Args:
      path: of the artifact.
      taken: shape of its input (b, H, W, 3); what is not a whole number is any size.
      images: that it is to be given.
    """
    if len(taken) != images.ndim or any(
        isinstance(side, int) and side != got for side, got in zip(taken[1:], images.shape[1:], strict=False)
    ):
        shown = ", ".join(str(side) if isinstance(side, int) else "any" for side in taken)
        raise DataError(
            f"{path} must take images of shape {images.shape}, as the description of the network says. It takes "
            f"({shown}): it is an artifact of another network; name the hparams_config.yaml that belongs to it, or "
            "export again."
        )


class RawHeadsPredictor:
    """Detection by an artifact with raw outputs.

    Args:
      run_heads: the artifact in its runtime.
      config: of the network; its pre- and post-processing are done here.
      path: of the artifact, for messages.
      mode: of non-maximum suppression, as in `postprocess.detections`.
      resize: letterbox or stretch; None for that of the network's training.
    """

    def __init__(
        self,
        run_heads: RunHeads,
        config: AnyDetectorConfig,
        *,
        path: Path,
        mode: str = "per_class",
        resize: str | None = None,
    ) -> None:
        self.run_network = run_heads
        self._path = path
        num_priors = len(anchor_boxes(config)) if isinstance(config, DetectorConfig) else None
        self._shapes = {"logits": (num_priors, config.num_classes), "deltas": (num_priors, 4)}

        heads = [tf.TensorSpec((None, *shape), tf.float32) for shape in self._shapes.values()]
        sizes = [tf.TensorSpec((2,), tf.float32), tf.TensorSpec((2,), tf.int32)]

        # How many priors a detector built from parts has is what its artifact gives.
        signature = [*heads, *sizes] if num_priors else None

        @tf.function(input_signature=signature, autograph=False)
        def after(logits: Tensor, deltas: Tensor, scales: Tensor, size: Tensor) -> Detections:
            # Of a detector built from parts the artifact gives logits of scores, and boxes.
            outputs = {"boxes": deltas, "scores": tf.sigmoid(logits)}
            if isinstance(config, DetectorConfig):
                outputs = {"class": {0: logits}, "box": {0: deltas}}
            found = detections(config, outputs, mode=mode)
            found = found._replace(boxes=found.boxes * tf.tile(scales, [2]))
            return clip_to_images(found, tf.tile(size[tf.newaxis], [tf.shape(logits)[0], 1]))

        self._after, self._config, self._resize = after, config, resize

    def detect(self, images: np.ndarray) -> Detections:
        """Returns numpy arrays: boxes in pixels of the images, best first, padded.

        Args:
          images: uint8 RGB (b, h, w, 3).

        Raises:
          DataError: the artifact's outputs do not fit the network.
        """
        canvases, scales = pixel_canvases(images, self._config, self._resize)
        logits, deltas = self.run_network(canvases)
        for name, array in (("logits", logits), ("deltas", deltas)):
            expected = self._shapes[name]
            if array.ndim != 3 or array.shape[2] != expected[1] or expected[0] not in (None, array.shape[1]):
                raise DataError(
                    f"{self._path} must return {name} of shape (images, {expected[0] or 'any'}, {expected[1]}), as "
                    f"the description of the network says. Received {array.shape}: it is an artifact of another "
                    "network; name the hparams_config.yaml that belongs to it, or export again."
                )
        size = tf.constant(images.shape[1:3], tf.int32)
        found = self._after(tf.constant(logits), tf.constant(deltas), scales, size)
        return Detections(*(np.asarray(part) for part in found))
