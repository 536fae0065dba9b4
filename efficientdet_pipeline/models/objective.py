"""Training objective of a detector from the options."""

from efficientdet.any_detector import AnyDetectorConfig
from efficientdet.detectors.config import DetectorParts
from efficientdet.detectors.objective import PartsObjective
from efficientdet.losses import LossOptions
from efficientdet.training_model import DetectionObjective, Objective

from efficientdet_pipeline.options.optimizer import OptimizerOptions


def detection_objective(
    config: AnyDetectorConfig, options: OptimizerOptions, *, class_weights: tuple[float, ...] = ()
) -> Objective:
    """Returns the losses that the options describe; a detector built from parts has those of its head.

    Args:
      config: of the network.
      options: of the training.
      class_weights: loss weight of each class, by class index; empty means equal weights.
    """
    if isinstance(config, DetectorParts):
        return PartsObjective(config)
    loss = LossOptions(
        assigner=options.assigner,
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
