"""The detector, able to learn: what Keras's `fit` needs beyond the network."""

from typing import Any

import keras
from keras import ops

from efficientdet.anchors import anchor_boxes
from efficientdet.assign import assign_targets
from efficientdet.config import DetectorConfig
from efficientdet.losses import LossOptions, detection_losses, l2_regularization
from efficientdet.types import GroundTruth, Tensor


class Learner(keras.Model):
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

    def call(self, images: Tensor, training: bool | None = None) -> dict[str, Any]:
        """Returns the detector's raw outputs."""
        return self.detector(images, training=training)

    def compute_loss(
        self,
        x: Tensor = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Returns the weighted sum of all losses, a scalar."""
        targets = assign_targets(self.anchors, GroundTruth(*y))
        # One more than there are, as automl has it: a batch without objects must not divide by zero.
        normalizer = self.sum_over_devices(ops.sum(targets.num_positives)) + 1.0
        options = self.loss_options
        losses = detection_losses(
            self.config, y_pred, targets, anchors=self.anchors, options=options, normalizer=normalizer
        )
        # The devices' losses are summed, and the penalty on the weights must count once.
        l2 = l2_regularization(self.detector.trainable_variables, options.weight_decay) / self.num_devices
        total = losses["class"] + options.box_loss_weight * losses["box"] + l2
        if "box_iou" in losses:
            total = total + options.iou_loss_weight * losses["box_iou"]
            self.trackers["box_iou_loss"].update_state(ops.stop_gradient(losses["box_iou"]) * self.num_devices)
        for name, value in (
            ("loss", total),
            ("class_loss", losses["class"]),
            ("box_loss", losses["box"]),
            ("reg_l2_loss", l2),
        ):
            self.trackers[name].update_state(ops.stop_gradient(value) * self.num_devices)
        return total

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
