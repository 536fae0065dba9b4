"""Training model of semantic segmentation: network and loss for Keras's `fit`."""

from typing import Any

import keras
from keras import ops

from efficientdet.segmentation_losses import SegmentationLossOptions, pixel_weights, segmentation_loss
from efficientdet.training_model import TrainingModel
from efficientdet.types import Tensor


class SegmentationObjective:
    """Segmentation losses, as means over the pixels that are not ignored.

    When a batch is split into shares, cross-entropies and focal losses of the
    shares add up to those of the batch. Dice, a ratio of sums, is computed per
    share and weighted by its pixels.
    """

    def __init__(self, loss: SegmentationLossOptions) -> None:
        self.loss_options = loss
        self.loss_names = tuple(f"{name}_loss" for name, _ in loss.terms)

    def targets(self, truth: Any) -> Tensor:
        """Returns the label maps (b, h, w), int32: class ids, and `ignore_id` for ignored pixels."""
        return ops.cast(truth, "int32")

    def count(self, targets: Tensor) -> Tensor:
        """Returns the sum of the weights of all pixels."""
        return ops.sum(pixel_weights(targets, self.loss_options))

    def normalizer(self, count: Tensor) -> Tensor:
        """Returns the count; 1 instead of 0."""
        return ops.where(count > 0, count, 1.0)

    def terms(self, outputs: Tensor, targets: Tensor, normalizer: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the weighted sum of the losses, and each of them."""
        losses = segmentation_loss(outputs, targets, self.loss_options)
        share = self.count(targets) / normalizer
        return losses.pop("loss") * share, {f"{name}_loss": value * share for name, value in losses.items()}


class SegmentationTrainingModel(TrainingModel):
    """A network with its loss: `fit` takes (images, maps) batches.

    Images are (b, h, w, 3), normalized; maps (b, h, w) hold class ids, and
    `ignore_id` for ignored pixels. Returns the network's logits.
    """

    def __init__(
        self, network: keras.Model, loss: SegmentationLossOptions, *, weight_decay: float = 0.0, **options: Any
    ) -> None:
        """Wraps a network.

        Args:
          network: from `build_unet`.
          loss: terms of the loss and their parameters.
          weight_decay: of the L2 penalty on kernels, as in the detectors.
          **options: keyword arguments of `keras.Model`.
        """
        super().__init__(network, SegmentationObjective(loss), weight_decay=weight_decay, **options)
