"""Options that a task other than detection does not read."""

from absl import logging

from efficientdet_pipeline.options.schema import declarations, flatten
from efficientdet_pipeline.options.training import TrainOptions

_OF_DETECTORS = (
    *("augment_recipe", "augment_config", "augment_steps", "autoaugment_policy", "grid_mask", "mosaic", "mixup"),
    *(
        "copy_paste",
        "close_mosaic",
        "min_visibility",
        "alpha",
        "assigner",
        "class_loss",
        "delta",
        "box_loss_weight",
        "iou_loss_type",
    ),
    *(
        "iou_loss_type",
        "iou_loss_weight",
        "positives_momentum",
        "class_weights",
        "class_balance",
        "cache",
        "num_classes",
    ),
    *("skip_crowd_during_training", "max_instances_per_image", "val_json_file", "val_loss"),
    *("var_freeze_expr", "grad_checkpoint", "use_fake_data", "resize", "var_exclude_expr"),
)


def log_idle_options(options: TrainOptions, task: str, *more: str) -> None:
    """Warns of options that were given and have no effect.

    Args:
      options: of the run.
      task: its name.
      more: names of options beyond those of detectors alone.
    """
    values, declared = flatten(options), declarations(TrainOptions)
    names = (*_OF_DETECTORS, *more)
    idle = [name for name in names if name in values and values[name] != declared[name].default]
    if idle:
        logging.warning("No effect on %s: %s.", task, ", ".join(f"--{name}" for name in idle))
