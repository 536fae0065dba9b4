"""Options that say how the weights learn."""

from dataclasses import dataclass

from absl import logging

from efficientdet_pipeline.options.augmentation import AugmentationOptions
from efficientdet_pipeline.options.general import check, check_choice
from efficientdet_pipeline.options.loader import LoaderOptions
from efficientdet_pipeline.options.model import PretrainedOptions
from efficientdet_pipeline.options.schema import option

NOT_NEGATIVE = (
    "lr_warmup_init",
    "lr_warmup_epoch",
    "clip_gradients_norm",
    "weight_decay",
    "gamma",
    "box_loss_weight",
    "iou_loss_weight",
    "poly_lr_power",
    "freeze_backbone_epochs",
    "first_lr_drop_epoch",
    "second_lr_drop_epoch",
)


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions(AugmentationOptions, LoaderOptions, PretrainedOptions):
    """How the weights learn."""

    num_epochs: int = option(50)
    """How often every photo is seen; a larger number extends a finished run."""
    batch_size: int = option(8, words={"auto": 0}, shapes=True)
    """Photos a step, summed over all devices; auto: the most that fit, found by taking steps."""
    optimizer: str = option("sgd", choices=("sgd", "adam", "adamw"), shapes=True)
    """sgd with momentum, adam, or adamw."""
    learning_rate: float = option(0.08, shapes=True)
    """Learning rate for a batch of 64; scaled by batch_size / 64."""
    lr_warmup_init: float = option(0.008, shapes=True)
    """Learning rate that the warm-up starts from, for a batch of 64; scaled likewise."""
    lr_warmup_epoch: float = option(1.0, shapes=True)
    """Length of the warm-up in epochs."""
    lr_decay_method: str = option("cosine", choices=("cosine", "stepwise", "polynomial", "constant"), shapes=True)
    """The curve after the warm-up; cosine and polynomial end at zero."""
    first_lr_drop_epoch: float = option(200.0, shapes=True)
    """Epoch of the first tenfold drop (stepwise)."""
    second_lr_drop_epoch: float = option(250.0, shapes=True)
    """Epoch of the second tenfold drop (stepwise)."""
    poly_lr_power: float = option(0.9, shapes=True)
    """Exponent of the polynomial curve."""
    momentum: float = option(0.9, shapes=True)
    """Momentum of sgd, beta_1 of adam and adamw."""
    clip_gradients_norm: float = option(10.0, shapes=True)
    """Largest norm of each gradient, then of all together; 0 switches clipping off."""
    moving_average_decay: float = option(0.9998, shapes=True)
    """Decay of the moving average of the weights, which is evaluated and exported; 0 switches it off."""
    batch_norm_momentum: float | None = option(None, shapes=True)
    """Momentum of the batch norm's moving statistics; default: automl's 0.99, less in runs below 2,000 steps, so that
    they have forgotten their start when the run ends."""
    weight_decay: float = option(4e-5, shapes=True)
    """L2 penalty on the kernels."""
    label_smoothing: float = option(0.0, shapes=True)
    """Share by which class targets are drawn to one half."""
    alpha: float = option(0.25, shapes=True)
    """Weight of positives in the focal loss."""
    gamma: float = option(1.5, shapes=True)
    """Exponent of the focal loss."""
    delta: float = option(0.1, shapes=True)
    """Where the Huber loss of the boxes turns linear."""
    box_loss_weight: float = option(50.0, shapes=True)
    """Weight of the Huber loss of the boxes; 0 switches it off."""
    iou_loss_type: str = option("", choices=("", "iou", "giou", "diou", "ciou"), shapes=True)
    """Additional loss on the overlap of boxes; empty for none."""
    iou_loss_weight: float = option(1.0, shapes=True)
    """Weight of the overlap loss."""
    positives_momentum: float = option(0.0, shapes=True)
    """Momentum of a moving average of the number of positive anchors, which losses are divided by; 0 takes each
    batch's own."""
    class_weights: str = option("", shapes=True)
    """How much objects of a class weigh in the loss: Platelets=4,RBC=0.5, others 1; auto: rare ones more."""
    freeze_backbone_epochs: int = option(0, shapes=True)
    """First epochs in which the backbone is not trained."""
    var_freeze_expr: str = option("", shapes=True)
    """Regular expression, matched from the start of automl's variable names; what matches is not trained."""

    def __post_init__(self) -> None:
        """Checks every number's range."""
        super().__post_init__()
        check(self.num_epochs >= 1, "num_epochs", self.num_epochs, "at least 1", "try 8")
        check(self.batch_size >= 0, "batch_size", self.batch_size, "at least 1, or auto", "try 8")
        for name in ("learning_rate", "delta"):
            check(getattr(self, name) > 0, name, getattr(self, name), "above 0", "leave it out for the default")
        for name in NOT_NEGATIVE:
            check(getattr(self, name) >= 0, name, getattr(self, name), "0 or more", "leave it out for the default")
        check(0 <= self.alpha <= 1, "alpha", self.alpha, "from 0 to 1: negatives weigh 1 - alpha", "try 0.25")
        for name in ("momentum", "moving_average_decay", "label_smoothing"):
            check(0 <= getattr(self, name) < 1, name, getattr(self, name), "at least 0 and below 1", "0 is off")
        kept = self.batch_norm_momentum
        expected = "at least 0 and below 1"
        check(kept is None or 0 <= kept < 1, "batch_norm_momentum", kept, expected, "leave it out to fit the run")
        momentum = self.positives_momentum
        check(-1 <= momentum < 1, "positives_momentum", momentum, "at least -1 and below 1", "0 is off")
        if momentum < 0:
            logging.warning("positives_momentum below 0 asks for the mean over devices, which is always taken.")
        for name in ("optimizer", "lr_decay_method", "iou_loss_type"):
            check_choice(name, getattr(self, name), self.__dataclass_fields__[name].metadata["choices"])
        self._warn_of_idle_options()

    def _warn_of_idle_options(self) -> None:
        method = self.lr_decay_method
        needs = {
            "poly_lr_power": ("lr_decay_method=polynomial", method == "polynomial"),
            "first_lr_drop_epoch": ("lr_decay_method=stepwise", method == "stepwise"),
            "second_lr_drop_epoch": ("lr_decay_method=stepwise", method == "stepwise"),
            "iou_loss_weight": ("iou_loss_type", bool(self.iou_loss_type)),
        }
        for name, (needed, is_given) in needs.items():
            if not is_given and getattr(self, name) != self.__dataclass_fields__[name].default:
                logging.warning("%s has no effect without --%s.", name, needed)
        if method == "stepwise" and self.num_epochs <= self.first_lr_drop_epoch:
            logging.warning(
                "lr_decay_method=stepwise drops nothing in %d epochs: the first drop is at epoch %g. Set "
                "--first_lr_drop_epoch and --second_lr_drop_epoch.",
                self.num_epochs,
                self.first_lr_drop_epoch,
            )
