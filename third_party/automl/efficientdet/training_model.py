"""Training models: a network and its objective for Keras's `fit`."""

from collections.abc import Sequence
from typing import Any, Protocol

import keras
from keras import ops

from efficientdet.anchors import anchor_boxes
from efficientdet.assigners import anchor_priors, assign_by_atss, assign_targets
from efficientdet.config import DetectorConfig
from efficientdet.losses import LossOptions, detection_losses, l2_regularization
from efficientdet.types import GroundTruth, Targets, Tensor


class Objective(Protocol):
    """The loss of a network, whatever it predicts.

    The loss of a batch may be computed in shares, by several devices or one
    after the other. The terms of all shares add up to those of the batch: each
    is a sum over the share, divided by the normalizer of the whole batch.
    """

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of the loss terms, such as class_loss."""

    def targets(self, truth: Any) -> Any:
        """Returns the training targets, from the ground truth of a batch as the input pipeline yields it."""

    def count(self, targets: Any) -> Tensor:
        """Returns the count of a share of a batch from which the normalizer is computed: a float32 scalar."""

    def normalizer(self, count: Tensor) -> Tensor:
        """Returns the divisor of sums over a batch, from the count of the whole batch."""

    def terms(self, outputs: Any, targets: Any, normalizer: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the weighted sum of the loss terms, and each term by its name in `loss_names`."""


class DetectionObjective:
    """Focal loss of the classes, Huber and IoU losses of the boxes, normalized by the number of positive anchors.

    Anchors are matched here, on the device: tens of thousands of anchors are
    cheap there, and a batch has only three tensors.
    """

    def __init__(self, config: DetectorConfig, loss: LossOptions) -> None:
        self.config, self.loss_options, self.anchors = config, loss, anchor_boxes(config)
        self.loss_names = ("class_loss", "box_loss", *(["box_iou_loss"] if loss.iou_loss_type else []))

    def targets(self, truth: Any) -> Targets:
        """Returns the targets of the anchors, from a `GroundTruth` or its fields."""
        if self.loss_options.assigner == "atss":
            priors = anchor_priors(self.config)
            return assign_by_atss(priors, GroundTruth(*truth), anchors_per_cell=self.config.num_anchors)
        return assign_targets(self.anchors, GroundTruth(*truth))

    def count(self, targets: Any) -> Tensor:
        """Returns the number of positive anchors."""
        return ops.sum(Targets(*targets).num_positives)

    def normalizer(self, count: Tensor) -> Tensor:
        """Returns the count plus one, as in automl: a batch without objects must not divide by zero."""
        return count + 1.0

    def terms(self, outputs: Any, targets: Any, normalizer: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the weighted sum of the class and box losses, and each of them."""
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

    Takes images (b, h, w, 3), normalized; returns the network's raw outputs.
    """

    def __init__(self, network: keras.Model, objective: Objective, *, weight_decay: float = 0.0, **kwargs: Any):
        """Wraps a network.

        Args:
          network: takes images; its call takes `training` and `seed`, the drop-path seed.
          objective: the loss.
          weight_decay: of the L2 penalty on the kernels.
          **kwargs: keyword arguments of `keras.Model`.
        """
        super().__init__(**kwargs)
        self.network = network
        self.objective = objective
        self.weight_decay = weight_decay
        names = ("loss", *objective.loss_names, "reg_l2_loss")
        self.trackers = {name: keras.metrics.Mean(name=name) for name in names}

    def build(self, input_shape: Any) -> None:
        """Creates nothing: the network has all variables."""
        self.built = True

    def call(self, images: Tensor, training: bool | None = None, seed: Tensor | None = None) -> Any:
        """Returns the network's raw outputs; `seed` is the drop-path seed."""
        return self.network(images, training=bool(training), seed=seed)

    def compute_loss(
        self,
        x: Tensor = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Returns the weighted sum of all losses, a scalar, and updates the running means of all losses."""
        targets = self.objective.targets(y)
        losses = self.loss_terms(y_pred, targets, self.normalizer(targets))
        self.track(losses)
        return losses["loss"]

    def normalizer(self, targets: Any) -> Tensor:
        """Returns the divisor of sums over a batch, from the counts of all devices."""
        return self.objective.normalizer(self.sum_over_devices(self.objective.count(targets)))

    def loss_terms(self, outputs: Any, targets: Any, normalizer: Tensor, *, parts: int = 1) -> dict[str, Tensor]:
        """Returns the weighted sum of all losses as "loss", and its terms.

        Args:
          outputs: of the network.
          targets: of the same images.
          normalizer: divisor of sums.
          parts: number of parts in which the batch is computed; the losses of all parts add up to the batch's.
        """
        total, terms = self.objective.terms(outputs, targets, normalizer)
        # The losses of devices and parts are summed, and the L2 penalty must count once.
        l2 = l2_regularization(self.trained_variables(), self.weight_decay) / (self.num_devices * parts)
        return {"loss": total + l2, "reg_l2_loss": l2, **terms}

    def track(self, values: dict[str, Tensor]) -> None:
        """Updates the running means with the values of a batch."""
        for name, value in values.items():
            self.trackers[name].update_state(ops.stop_gradient(value) * self.num_devices)

    def trained_variables(self) -> Sequence[keras.Variable]:
        """Returns the variables to which gradients are applied."""
        return self.network.trainable_variables

    @property
    def num_devices(self) -> int:
        """Number of devices that share a batch; the train step of a backend overrides it."""
        return 1

    def sum_over_devices(self, values: Tensor) -> Tensor:
        """Returns the sum of the values of all devices; on one device the values themselves."""
        return values

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The running means that `fit` reports and resets each epoch."""
        return list(self.trackers.values())


class DetectorTrainingModel(TrainingModel):
    """A detector with its loss: `fit` takes (images, GroundTruth) batches."""

    def __init__(self, detector: keras.Model, config: DetectorConfig, loss: LossOptions, **kwargs: Any):
        """Wraps a detector.

        Args:
          detector: from `build_model`.
          config: of the detector.
          loss: weights and parameters of the losses.
          **kwargs: keyword arguments of `keras.Model`.
        """
        super().__init__(detector, DetectionObjective(config, loss), weight_decay=loss.weight_decay, **kwargs)
