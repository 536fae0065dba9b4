"""A classifier with its loss: what Keras's `fit` needs beyond the network. `b` batch, `k` classes."""

from typing import Any

from keras import ops

from efficientdet.types import Tensor


class ClassificationObjective:
    """Softmax cross-entropy, as a mean over the images of a batch (label smoothing of Szegedy et al., 2016)."""

    loss_names = ("cross_entropy_loss",)

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        """Sets what is minimized.

        Args:
          label_smoothing: share of the probability that is spread over all classes.
        """
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must be from 0 to below 1. Received {label_smoothing}.")
        self.label_smoothing = label_smoothing

    def targets(self, truth: Any) -> Tensor:
        """Returns the class of each image, int32 (b,)."""
        return ops.cast(truth, "int32")

    def count(self, targets: Tensor) -> Tensor:
        """Returns the number of images."""
        return ops.sum(ops.ones_like(targets, dtype="float32"))

    def normalizer(self, count: Tensor) -> Tensor:
        """Returns the count."""
        return count

    def terms(self, outputs: Tensor, targets: Tensor, normalizer: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss of logits (b, k), twice: as the sum, and by its name."""
        columns = outputs.shape[-1]
        log_chances = ops.log_softmax(ops.cast(outputs, "float32"), axis=-1)
        wanted = ops.one_hot(targets, columns) * (1.0 - self.label_smoothing) + self.label_smoothing / columns
        loss = -ops.sum(wanted * log_chances) / normalizer
        return loss, {"cross_entropy_loss": loss}
