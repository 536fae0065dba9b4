"""What a detector is trained to minimize, as the options describe it."""

from efficientdet.config import DetectorConfig
from efficientdet.losses import LossOptions
from efficientdet.training_model import DetectionObjective

from efficientdet_pipeline.options.optimizer import OptimizerOptions


def detection_objective(
    config: DetectorConfig, options: OptimizerOptions, *, class_weights: tuple[float, ...] = ()
) -> DetectionObjective:
    """Returns the losses that the options describe.

    Args:
      config: of the network.
      options: of the training.
      class_weights: loss weight of each class, by class index; empty: all equal.
    """
    loss = LossOptions(
        alpha=options.alpha,
        gamma=options.gamma,
        label_smoothing=options.label_smoothing,
        class_loss=options.class_loss,
        delta=options.delta,
        box_loss_weight=options.box_loss_weight,
        iou_loss_type=options.iou_loss_type or None,
        iou_loss_weight=options.iou_loss_weight,
        class_weights=class_weights,
    )
    return DetectionObjective(config, loss)
