"""Optimizer, learning-rate schedule and loss options."""

from dataclasses import dataclass

from absl import logging

from efficientdet_pipeline.options.schema import Options, check, check_choice, option

NOT_NEGATIVE = (
    "lr_warmup_init",
    "lr_warmup_epoch",
    "lr_hold_epoch",
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
class OptimizerOptions(Options):
    """Optimizer and losses."""

    num_epochs: int = option(50, "Number of training epochs. A larger number extends a finished run.")
    batch_size: int = option(
        8,
        "Global batch size (images per step over all devices). `auto`: the largest that fits in memory.",
        words={"auto": 0},
        shapes=True,
    )
    optimizer: str = option(
        "sgd",
        "Optimizer: sgd (with momentum), adam or adamw.",
        choices=("sgd", "adam", "adamw"),
        shapes=True,
    )
    learning_rate: float = option(
        0.08,
        "Base learning rate for a batch size of 64; multiplied by batch_size / 64.",
        shapes=True,
    )
    lr_warmup_init: float = option(
        0.008,
        "Initial learning rate of the warmup for a batch size of 64; multiplied by batch_size / 64.",
        shapes=True,
    )
    lr_warmup_epoch: float = option(1.0, "Length of the linear warmup in epochs.", shapes=True)
    lr_hold_epoch: float = option(
        0.0,
        "Number of epochs after the warmup with a constant learning rate, before cosine or polynomial decay.",
        shapes=True,
    )
    lr_layer_decay: float = option(
        1.0,
        "Layer-wise decay of the learning rate in the backbone, above 0 and at most 1: "
        "each block has this factor of the rate of the block above it. 1: all layers have the same rate.",
        shapes=True,
    )
    lr_decay_method: str = option(
        "cosine",
        "Learning-rate schedule after the warmup. cosine and polynomial decay to zero.",
        choices=("cosine", "stepwise", "polynomial", "constant"),
        shapes=True,
    )
    first_lr_drop_epoch: float = option(
        200.0,
        "Epoch of the first reduction of the learning rate by a factor of 10 (stepwise).",
        shapes=True,
    )
    second_lr_drop_epoch: float = option(
        250.0,
        "Epoch of the second reduction of the learning rate by a factor of 10 (stepwise).",
        shapes=True,
    )
    poly_lr_power: float = option(0.9, "Exponent of the polynomial decay.", shapes=True)
    momentum: float = option(0.9, "Momentum of sgd, beta_1 of adam and adamw.", shapes=True)
    clip_gradients_norm: float = option(
        10.0,
        "Gradient clipping: maximum L2 norm of each gradient, then of all gradients together. 0: disabled.",
        shapes=True,
    )
    moving_average_decay: float = option(
        0.9998,
        "Decay of the exponential moving average (EMA) of the weights, which is used for evaluation and "
        "export. 0: disabled.",
        shapes=True,
    )
    batch_norm_momentum: float | None = option(
        None,
        "Momentum of the moving statistics of batch normalization. Default: google/automl's 0.99; smaller in "
        "runs of fewer than 2,000 steps, so that the statistics converge within the run.",
        shapes=True,
    )
    weight_decay: float = option(4e-5, "L2 regularization factor of the kernels.", shapes=True)
    label_smoothing: float = option(
        0.0,
        "Label smoothing, at least 0 and below 1; targets become (1 - x) * target + x / 2.",
        shapes=True,
    )
    class_loss: str = option(
        "focal",
        "Classification loss: focal, or quality_focal, in which the target of an object's class is the IoU of the "
        "predicted "
        "box with the object, so that scores also rank boxes by accuracy; alpha has no effect then.",
        choices=("focal", "quality_focal"),
        shapes=True,
    )
    assigner: str = option(
        "max_iou",
        "Label assignment: max_iou, by which anchors with an IoU of 0.5 are positive and the best of each object, or "
        "atss, which adapts that IoU to each object (adaptive training sample selection).",
        choices=("max_iou", "atss"),
        shapes=True,
    )
    alpha: float = option(
        0.25,
        "Weight of positives in the focal loss, 0 to 1; negatives are weighted by 1 - alpha.",
        shapes=True,
    )
    gamma: float = option(1.5, "Focusing exponent of the focal loss.", shapes=True)
    delta: float = option(
        0.1,
        "Threshold between the quadratic and the linear part of the Huber box loss.",
        shapes=True,
    )
    box_loss_weight: float = option(50.0, "Weight of the Huber box loss. 0: disabled.", shapes=True)
    iou_loss_type: str = option(
        "",
        "Additional IoU-based box loss: iou, giou, diou or ciou. Empty: none.",
        choices=("", "iou", "giou", "diou", "ciou"),
        shapes=True,
    )
    iou_loss_weight: float = option(1.0, "Weight of the IoU loss.", shapes=True)
    positives_momentum: float = option(
        0.0,
        "Momentum of the moving average of the number of positive anchors that normalizes the losses. 0: the "
        "number in each batch.",
        shapes=True,
    )
    class_weights: str = option(
        "",
        "Class weights in the loss, for example Platelets=4,RBC=0.5; classes not listed have weight "
        "1. `auto`: rare classes are weighted higher.",
        shapes=True,
    )
    freeze_backbone_epochs: int = option(0, "Number of initial epochs in which the backbone is frozen.", shapes=True)
    var_freeze_expr: str = option(
        "",
        "Regular expression, matched at the start of google/automl's variable names; matching variables are frozen.",
        shapes=True,
    )

    def __post_init__(self) -> None:
        """Checks the range of every number."""
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
        check(
            kept is None or 0 <= kept < 1,
            "batch_norm_momentum",
            kept,
            expected,
            "leave it out to adapt it to the length of the run",
        )
        momentum = self.positives_momentum
        check(-1 <= momentum < 1, "positives_momentum", momentum, "at least -1 and below 1", "0 is off")
        if momentum < 0:
            logging.warning("positives_momentum below 0 selects the mean over devices, which is always used.")
        decay = self.lr_layer_decay
        check(0 < decay <= 1, "lr_layer_decay", decay, "above 0 and at most 1", "1 is off")
        smoothing = self.label_smoothing
        check(
            not smoothing or self.class_loss == "focal",
            "label_smoothing",
            smoothing,
            "0 with class_loss=quality_focal, whose labels are overlaps",
            "leave one of the two out",
        )
        for name in ("optimizer", "lr_decay_method", "iou_loss_type", "class_loss", "assigner"):
            check_choice(name, getattr(self, name), self.__dataclass_fields__[name].metadata["choices"])
        self._warn_of_idle_options()

    def _warn_of_idle_options(self) -> None:
        method = self.lr_decay_method
        needs = {
            "poly_lr_power": ("lr_decay_method=polynomial", method == "polynomial"),
            "first_lr_drop_epoch": ("lr_decay_method=stepwise", method == "stepwise"),
            "second_lr_drop_epoch": ("lr_decay_method=stepwise", method == "stepwise"),
            "lr_hold_epoch": ("lr_decay_method=cosine or polynomial", method in ("cosine", "polynomial")),
            "iou_loss_weight": ("iou_loss_type", bool(self.iou_loss_type)),
            "alpha": ("class_loss=focal", self.class_loss == "focal"),
        }
        for name, (needed, is_given) in needs.items():
            if not is_given and getattr(self, name) != self.__dataclass_fields__[name].default:
                logging.warning("%s has no effect without --%s.", name, needed)
        if method == "stepwise" and self.num_epochs <= self.first_lr_drop_epoch:
            logging.warning(
                "lr_decay_method=stepwise has no effect in %d epochs: the first drop is at epoch %g. Set "
                "--first_lr_drop_epoch and --second_lr_drop_epoch.",
                self.num_epochs,
                self.first_lr_drop_epoch,
            )
