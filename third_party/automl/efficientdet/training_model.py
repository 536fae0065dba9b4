"""A network with what it is trained to minimize: what Keras's `fit` needs beyond the network."""

from collections.abc import Sequence
from typing import Any, Protocol

import keras
from keras import ops

from efficientdet.anchors import anchor_boxes
from efficientdet.assigners import assign_targets
from efficientdet.config import DetectorConfig
from efficientdet.losses import LossOptions, detection_losses, l2_regularization
from efficientdet.types import GroundTruth, Targets, Tensor


class Objective(Protocol):
    """What a network is trained to minimize, whatever it predicts.

    A batch's loss may be computed in shares, by several devices or one after
    the other. Terms of all shares add up to those of the batch: each is a sum
    over the share, divided by the normalizer of the whole batch.
    """

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of the terms, such as class_loss."""

    def targets(self, truth: Any) -> Any:
        """Returns what the outputs are compared with, from the truth of a batch as the input pipeline gives it."""

    def count(self, targets: Any) -> Tensor:
        """Returns what the normalizer counts in a share of a batch: a float32 scalar."""

    def normalizer(self, count: Tensor) -> Tensor:
        """Returns what sums over a batch are divided by, from the count of the whole batch."""

    def terms(self, outputs: Any, targets: Any, normalizer: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the weighted sum of the terms, and each term by its name in `loss_names`."""


class DetectionObjective:
    """Focal loss of the classes, Huber and IoU losses of the boxes, normalized by the positive anchors.

    Labels are matched to anchors here, on the device: tens of thousands of
    anchors are cheap there, and a batch stays three tensors.
    """

    def __init__(self, config: DetectorConfig, loss: LossOptions) -> None:
        self.config, self.loss_options, self.anchors = config, loss, anchor_boxes(config)
        self.loss_names = ("class_loss", "box_loss", *(["box_iou_loss"] if loss.iou_loss_type else []))

    def targets(self, truth: Any) -> Targets:
        """Returns the anchors' targets, from a `GroundTruth` or its fields."""
        return assign_targets(self.anchors, GroundTruth(*truth))

    def count(self, targets: Any) -> Tensor:
        """Returns the number of positive anchors."""
        return ops.sum(Targets(*targets).num_positives)

    def normalizer(self, count: Tensor) -> Tensor:
        """Returns one more than there are, as automl has it: a batch without objects must not divide by zero."""
        return count + 1.0

    def terms(self, outputs: Any, targets: Any, normalizer: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the weighted sum of the losses of the classes and boxes, and each of them."""
        options = self.loss_options
        losses = detection_losses(
            self.config, outputs, Targets(*targets), anchors=self.anchors, options=options, normalizer=normalizer
        )
        total = losses["class"] + options.box_loss_weight * losses["box"]
        if "box_iou" in losses:
            total = total + options.iou_loss_weight * losses["box_iou"]
        return total, {f"{name}_loss": value for name, value in losses.items()}


class TrainingModel(keras.Model):
    """A network with its loss: `fit` takes (images, truth) batches.

    Takes images (b, h, w, 3), normalized; gives the network's raw outputs.
    """

    def __init__(self, network: keras.Model, objective: Objective, *, weight_decay: float = 0.0, **kwargs: Any):
        """Wraps a network.

        Args:
          network: takes images; its call takes `training` and `seed`, what it drops by.
          objective: what is minimized.
          weight_decay: of the L2 penalty on the kernels.
          **kwargs: of Keras.
        """
        super().__init__(**kwargs)
        self.network = network
        self.objective = objective
        self.weight_decay = weight_decay
        names = ("loss", *objective.loss_names, "reg_l2_loss")
        self.trackers = {name: keras.metrics.Mean(name=name) for name in names}

    def build(self, input_shape: Any) -> None:
        """Nothing to make: the network brings its variables."""
        self.built = True

    def call(self, images: Tensor, training: bool | None = None, seed: Tensor | None = None) -> Any:
        """Returns the network's raw outputs; `seed` is what the network drops by."""
        return self.network(images, training=bool(training), seed=seed)

    def compute_loss(
        self,
        x: Tensor = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Returns the weighted sum of all losses, a scalar, and takes all into their running means."""
        targets = self.objective.targets(y)
        losses = self.loss_terms(y_pred, targets, self.normalizer(targets))
        self.track(losses)
        return losses["loss"]

    def normalizer(self, targets: Any) -> Tensor:
        """Returns what the sums over a batch are divided by, from the counts of all devices."""
        return self.objective.normalizer(self.sum_over_devices(self.objective.count(targets)))

    def loss_terms(self, outputs: Any, targets: Any, normalizer: Tensor, *, parts: int = 1) -> dict[str, Tensor]:
        """Returns the weighted sum of all losses as "loss", and what it is made of.

        Args:
          outputs: of the network.
          targets: of the same images.
          normalizer: what sums are divided by.
          parts: that the batch is computed in; the losses of all parts add up to the batch's.
        """
        total, terms = self.objective.terms(outputs, targets, normalizer)
        # What devices and parts give is summed, and the penalty on the weights must count once.
        l2 = l2_regularization(self.trained_variables(), self.weight_decay) / (self.num_devices * parts)
        return {"loss": total + l2, "reg_l2_loss": l2, **terms}

    def track(self, values: dict[str, Tensor]) -> None:
        """Takes a batch's values into the running means of the same names."""
        for name, value in values.items():
            self.trackers[name].update_state(ops.stop_gradient(value) * self.num_devices)

    def trained_variables(self) -> Sequence[keras.Variable]:
        """Returns the variables that gradients are applied to."""
        return self.network.trainable_variables

    @property
    def num_devices(self) -> int:
        """Devices that share a batch; a backend's own step says more."""
        return 1

    def sum_over_devices(self, values: Tensor) -> Tensor:
        """Returns the sum of each device's values; on one device the values themselves."""
        return values

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The running means that `fit` shows and resets each epoch."""
        return list(self.trackers.values())


class DetectorTrainingModel(TrainingModel):
    """A detector with its loss: `fit` takes (images, GroundTruth) batches."""

    def __init__(self, detector: keras.Model, config: DetectorConfig, loss: LossOptions, **kwargs: Any):
        """Wraps a detector.

        Args:
          detector: from `build_model`.
          config: its description.
          loss: weights and numbers of the losses.
          **kwargs: of Keras.
        """
        super().__init__(detector, DetectionObjective(config, loss), weight_decay=loss.weight_decay, **kwargs)
