"""The detector, able to learn: what Keras's `fit` needs beyond the network."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from efficientdet.anchors import anchor_boxes
from efficientdet.assigners import assign_targets
from efficientdet.config import DetectorConfig
from efficientdet.losses import LossOptions, detection_losses, l2_regularization
from efficientdet.types import GroundTruth, Targets, Tensor


class DetectorTrainingModel(keras.Model):
    """A detector with its loss: `fit` takes (images, GroundTruth) batches.

    Labels are matched to anchors here, on the device: tens of thousands of
    anchors are cheap there, and a batch stays three tensors.

    Takes images (b, h, w, 3), normalised; gives the detector's raw outputs.
    """

    def __init__(self, detector: keras.Model, config: DetectorConfig, loss: LossOptions, **kwargs: Any):
        super().__init__(**kwargs)
        self.detector = detector
        self.config = config
        self.loss_options = loss
        self.anchors = anchor_boxes(config)
        self.trackers = {
            name: keras.metrics.Mean(name=name) for name in ("loss", "class_loss", "box_loss", "reg_l2_loss")
        }
        if loss.iou_loss_type:
            self.trackers["box_iou_loss"] = keras.metrics.Mean(name="box_iou_loss")

    def build(self, input_shape: Any) -> None:
        """Nothing to make: the detector brings its variables."""
        self.built = True

    def call(self, images: Tensor, training: bool | None = None, seed: Tensor | None = None) -> dict[str, Any]:
        """Returns the detector's raw outputs; `seed` is what the detector drops by."""
        return self.detector(images, training=training, seed=seed)

    def compute_loss(
        self,
        x: Tensor = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Returns the weighted sum of all losses, a scalar, and takes all into their running means."""
        targets = assign_targets(self.anchors, GroundTruth(*y))
        losses = self.loss_terms(y_pred, targets, self.normalizer(targets))
        self.track(losses)
        return losses["loss"]

    def normalizer(self, targets: Targets) -> Tensor:
        """Returns what the sums over a batch are divided by: positives of all devices, plus one."""
        # One more than there are, as automl has it: a batch without objects must not divide by zero.
        return self.sum_over_devices(ops.sum(targets.num_positives)) + 1.0

    def loss_terms(self, outputs: dict[str, Any], targets: Targets, normalizer: Tensor, *, parts: int = 1) -> dict:
        """Returns the weighted sum of all losses as "loss", and what it is made of.

        Args:
          outputs: of the network.
          targets: of the same photos.
          normalizer: what sums are divided by.
          parts: that the batch is computed in; the losses of all parts add up to the batch's.
        """
        options = self.loss_options
        losses = detection_losses(
            self.config, outputs, targets, anchors=self.anchors, options=options, normalizer=normalizer
        )
        # What devices and parts give is summed, and the penalty on the weights must count once.
        l2 = l2_regularization(self.trained_variables(), options.weight_decay) / (self.num_devices * parts)
        total = losses["class"] + options.box_loss_weight * losses["box"] + l2
        if "box_iou" in losses:
            total = total + options.iou_loss_weight * losses["box_iou"]
        return {"loss": total, "reg_l2_loss": l2, **{f"{name}_loss": value for name, value in losses.items()}}

    def track(self, values: dict[str, Tensor]) -> None:
        """Takes a batch's values into the running means of the same names."""
        for name, value in values.items():
            self.trackers[name].update_state(ops.stop_gradient(value) * self.num_devices)

    def trained_variables(self) -> Sequence[keras.Variable]:
        """Returns the variables that gradients are applied to."""
        return self.detector.trainable_variables

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
