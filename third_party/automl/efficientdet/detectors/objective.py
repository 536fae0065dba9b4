"""Training objective of a detector built from parts: the losses of its head."""

from typing import Any

from keras import ops

from efficientdet.detectors.config import DetectorParts
from efficientdet.heads.head_interface import Head
from efficientdet.types import GroundTruth, Tensor


class PartsObjective:
    """The losses of the config's head.

    Some assigners use the predictions, so the positives of a batch are not known
    before its outputs. Therefore each share of a batch (of a device, or of a step
    with gradient accumulation) is normalized by its own positives, as defined by
    the head, and the losses of shares are averaged, weighted by their images. A
    batch in one share has exactly the losses of its head.
    """

    def __init__(self, parts: DetectorParts) -> None:
        self.image_size = parts.image_size
        self.head: Head = parts.head.build(parts.levels)
        self.loss_names: tuple[str, ...] = tuple(self.head.loss_names)

    def targets(self, truth: Any) -> GroundTruth:
        """Returns the objects of a batch; the head assigns them to priors."""
        return GroundTruth(*truth)

    def count(self, targets: Any) -> Tensor:
        """Returns the number of images."""
        return ops.cast(ops.shape(GroundTruth(*targets).boxes)[0], "float32")

    def normalizer(self, count: Tensor) -> Tensor:
        """Returns the number of images of the batch."""
        return count

    def terms(self, outputs: Any, targets: Any, normalizer: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the sum of the head's losses, which include their weights, and each of them."""
        truth = GroundTruth(*targets)
        share = self.count(truth) / normalizer
        losses = {name: value * share for name, value in self.head.losses(outputs, truth, self.image_size).items()}
        return sum(losses.values(), start=ops.zeros((), "float32")), losses
