"""What a detector built from parts is trained to minimize: the losses of its head."""

from typing import Any

from keras import ops

from efficientdet.detectors.config import DetectorParts
from efficientdet.heads.head_interface import Head
from efficientdet.types import GroundTruth, Tensor


class PartsObjective:
    """The losses of the config's head.

    Several assigners look at the predictions, so that the positives of a batch
    are not known before its outputs. Hence each share of a batch (a device's, or
    a part of an accumulated gradient) is normalized by its own positives, as its
    head defines it, and the losses of the shares are averaged by their images.
    A batch computed as one has exactly the losses of its head.
    """

    def __init__(self, parts: DetectorParts) -> None:
        self.image_size = parts.image_size
        self.head: Head = parts.head.build(parts.levels)
        self.loss_names: tuple[str, ...] = tuple(self.head.loss_names)

    def targets(self, truth: Any) -> GroundTruth:
        """Returns the objects of a batch, which the head assigns itself."""
        return GroundTruth(*truth)

    def count(self, targets: Any) -> Tensor:
        """Returns the number of images."""
        return ops.cast(ops.shape(GroundTruth(*targets).boxes)[0], "float32")

    def normalizer(self, count: Tensor) -> Tensor:
        """Returns the number of images of the batch."""
        return count

    def terms(self, outputs: Any, targets: Any, normalizer: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the sum of the head's losses, which are weighed already, and each of them."""
        truth = GroundTruth(*targets)
        share = self.count(truth) / normalizer
        losses = {name: value * share for name, value in self.head.losses(outputs, truth, self.image_size).items()}
        return sum(losses.values(), start=ops.zeros((), "float32")), losses
