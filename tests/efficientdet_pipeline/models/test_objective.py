"""Objective of a detector: the options' losses."""

import efficientdet

from efficientdet_pipeline.models.objective import detection_objective
from efficientdet_pipeline.options.optimizer import OptimizerOptions


def test_detection_objective_takes_the_losses_of_the_options() -> None:
    config = efficientdet.get_config("efficientdet-d0", image_size=64, num_classes=2)
    assert detection_objective(config, OptimizerOptions()).loss_names == ("class_loss", "box_loss")
    options = OptimizerOptions(iou_loss_type="ciou", alpha=0.4, box_loss_weight=10.0)
    objective = detection_objective(config, options, class_weights=(1.0, 3.0))
    assert objective.loss_names == ("class_loss", "box_loss", "box_iou_loss")
    loss = objective.loss_options
    assert (loss.alpha, loss.box_loss_weight, loss.class_weights) == (0.4, 10.0, (1.0, 3.0))
