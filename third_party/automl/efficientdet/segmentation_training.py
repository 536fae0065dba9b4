"""A segmentation network with its loss: what Keras's `fit` needs beyond the network."""

from typing import Any

import keras
from keras import ops

from efficientdet.losses import l2_regularization
from efficientdet.segmentation_losses import SegmentationLossOptions, segmentation_loss
from efficientdet.types import Tensor


class SegmentationTrainingModel(keras.Model):
    """A network with its loss: `fit` takes (images, maps) batches.

    Images are (b, h, w, 3), normalized; maps (b, h, w) hold columns of the
    network, and `ignore_id` where a pixel does not count. Gives the network's
    logits.
    """

    def __init__(
        self, network: keras.Model, loss: SegmentationLossOptions, *, weight_decay: float = 0.0, **options: Any
    ) -> None:
        """Wraps a network.

        Args:
          network: from `build_unet`.
          loss: which losses, and their numbers.
          weight_decay: of the L2 penalty on kernels, as the detectors have it.
          **options: of Keras.
        """
        super().__init__(**options)
        self.network = network
        self.loss_options = loss
        self.weight_decay = weight_decay
        terms = [f"{name}_loss" for name, _ in loss.terms]
        names = ["loss", *terms, *(["reg_l2_loss"] if weight_decay else [])]
        self.trackers = {name: keras.metrics.Mean(name=name) for name in names}

    def build(self, input_shape: Any) -> None:
        """Nothing to make: the network brings its variables."""
        self.built = True

    def call(self, images: Tensor, training: bool | None = None, seed: Tensor | None = None) -> Tensor:
        """Returns the network's logits; `seed` is what the network drops by."""
        return self.network(images, training=bool(training), seed=seed)

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """Returns the weighted sum of all losses, a scalar, and takes all into their running means."""
        losses = segmentation_loss(y_pred, y, self.loss_options)
        total = losses.pop("loss")
        values = {f"{name}_loss": value for name, value in losses.items()}
        if self.weight_decay:
            values["reg_l2_loss"] = l2_regularization(self.network.trainable_variables, self.weight_decay)
            total = total + values["reg_l2_loss"]
        for name, value in {**values, "loss": total}.items():
            self.trackers[name].update_state(ops.stop_gradient(value))
        return total

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The running means that `fit` shows and resets each epoch."""
        return list(self.trackers.values())
