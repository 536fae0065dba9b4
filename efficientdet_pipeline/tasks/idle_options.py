"""Options that a run does not read, or that do it no good, and warnings of them."""

from collections.abc import Sequence

from absl import logging

from efficientdet_pipeline.options.schema import declarations, flatten
from efficientdet_pipeline.options.training import TrainOptions

OF_DETECTORS = (
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

OF_SEGMENTATION = ("segmentation_loss", "upsample", "skip", "concat_input", "scse", "hypercolumn")
OF_CLASS_NETWORKS = ("input_rand_vflip", "max_rotation", "crop_area_min")


def log_idle_options(options: TrainOptions, what: str, names: Sequence[str] = OF_DETECTORS) -> None:
    """Warns of options that were given and have no effect.

    Args:
      options: of the run.
      what: what they have no effect on.
      names: of the options without effect.
    """
    values, declared = flatten(options), declarations(TrainOptions)
    idle = [name for name in names if values[name] != declared[name].default]
    if idle:
        logging.warning("No effect on %s: %s.", what, ", ".join(f"--{name}" for name in idle))


def log_frozen_random_weights(options: TrainOptions) -> None:
    """Warns where a run without pretrained weights freezes its backbone."""
    if epochs := options.optimizer.freeze_backbone_epochs:
        logging.warning(
            "The backbone has random weights, and --freeze_backbone_epochs=%d does not train them in these epochs. "
            "Leave it out, or give pretrained weights (--pretrained_ckpt, --backbone_ckpt).",
            epochs,
        )
