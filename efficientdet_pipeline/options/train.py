"""Options of --mode=train and --mode=traineval."""

from dataclasses import dataclass

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.dataset import DatasetOptions
from efficientdet_pipeline.options.declare import option
from efficientdet_pipeline.options.evaluate import EvaluationOptions
from efficientdet_pipeline.options.network import PretrainedOptions
from efficientdet_pipeline.options.run import check, check_choice

NOT_NEGATIVE = (
    "lr_warmup_init",
    "lr_warmup_epoch",
    "clip_gradients_norm",
    "weight_decay",
    "alpha",
    "gamma",
    "box_loss_weight",
    "iou_loss_weight",
    "poly_lr_power",
    "first_lr_drop_epoch",
    "second_lr_drop_epoch",
)
POLICIES = ("", "v0", "v1", "v2", "v3", "test", "randaug")


@dataclass(frozen=True, kw_only=True)
class AugmentationOptions(PretrainedOptions):
    """How photos are varied."""

    input_rand_hflip: bool = option(True, shapes=True)
    """Mirror every other photo."""
    jitter_min: float = option(0.7, shapes=True)
    """Smallest random scale of a photo; google/automl takes 0.1, which suits long runs on many photos."""
    jitter_max: float = option(1.4, shapes=True)
    """Largest random scale of a photo; google/automl takes 2.0."""
    autoaugment_policy: str = option("", choices=POLICIES, shapes=True)
    """AutoAugment policy: v0, v1, v2, v3, test or randaug; empty for none."""
    grid_mask: bool = option(False, shapes=True)
    """Blot out a random grid of squares."""

    def __post_init__(self) -> None:
        """Checks the scales and the policy."""
        super().__post_init__()
        low, high = self.jitter_min, self.jitter_max
        check(0.0 < low <= high, "jitter_min", low, f"above 0 and at most jitter_max ({high})", "try 0.7")
        check_choice("autoaugment_policy", self.autoaugment_policy, POLICIES)


@dataclass(frozen=True, kw_only=True)
class OptimizationOptions(AugmentationOptions):
    """How the weights learn."""

    num_epochs: int = option(50)
    """How often every photo is seen; a larger number extends a finished run."""
    batch_size: int = option(8, shapes=True)
    """Photos a step, summed over all devices."""
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
    var_freeze_expr: str = option("", shapes=True)
    """Regular expression, matched from the start of automl's variable names; what matches is not trained."""

    def __post_init__(self) -> None:
        """Checks every number's range."""
        super().__post_init__()
        for name in ("num_epochs", "batch_size"):
            check(getattr(self, name) >= 1, name, getattr(self, name), "at least 1", "try 8")
        for name in ("learning_rate", "delta"):
            check(getattr(self, name) > 0, name, getattr(self, name), "above 0", "leave it out for the default")
        for name in NOT_NEGATIVE:
            check(getattr(self, name) >= 0, name, getattr(self, name), "0 or more", "leave it out for the default")
        for name in ("momentum", "moving_average_decay", "label_smoothing"):
            check(0 <= getattr(self, name) < 1, name, getattr(self, name), "at least 0 and below 1", "0 is off")
        for name in ("optimizer", "lr_decay_method", "iou_loss_type"):
            check_choice(name, getattr(self, name), self.__dataclass_fields__[name].metadata["choices"])


@dataclass(frozen=True, kw_only=True)
class MachineOptions(OptimizationOptions):
    """What the training runs on."""

    strategy: str = option("", choices=("", "gpus", "tpu"))
    """Empty: one device. gpus: every GPU of this machine."""
    use_xla: bool = option(False)
    """Compile the step with XLA; on a CPU that is several times slower."""
    mixed_precision: bool = option(False, shapes=True)
    """Compute in 16 bits: bfloat16 on a TPU or a GPU that has it. Ignored on a CPU, where it is slower."""
    steps_per_execution: int = option(1)
    """Steps between two looks of the host; more is quicker on small networks."""
    tpu: str = option("")
    """Name or address of a Cloud TPU."""
    tpu_zone: str = option("")
    """Zone of the Cloud TPU."""
    gcp_project: str = option("")
    """Google Cloud project of the Cloud TPU."""
    num_cores: int | None = option(None)
    """Number of TPU cores; the devices are counted, so that it has no effect."""
    profile: bool = option(False)
    """Record steps 10 to 12 for TensorBoard's profiler."""

    def __post_init__(self) -> None:
        """Checks the engine and explains where it is not to be had."""
        super().__post_init__()
        check_choice("strategy", self.strategy, ("", "gpus", "tpu"))
        check(self.steps_per_execution >= 1, "steps_per_execution", self.steps_per_execution, "at least 1", "try 1")
        asked = "strategy" if self.strategy == "tpu" else "tpu" if self.tpu else ""
        if asked:
            raise OptionsError(
                f"{asked} must not name a TPU here: TensorFlow has no Cloud TPU support past 2.18. "
                f"Received {asked}={getattr(self, asked)!r}; try --strategy=gpus, or leave it out for one device.",
                option=asked,
            )


@dataclass(frozen=True, kw_only=True)
class TrainOptions(EvaluationOptions, MachineOptions, DatasetOptions):
    """The training."""

    train_file_pattern: str = option("")
    """Glob of training shards, for example shards/train-*; several separated by commas. Nothing is downloaded then."""
    num_examples_per_epoch: int | None = option(None, shapes=True)
    """Photos that make an epoch; default: all training photos, counted."""
    map_freq: int = option(0)
    """Epochs between two evaluations; 0 makes about ten a run."""
    max_instances_per_image: int | None = option(None, shapes=True)
    """Boxes a photo may have; default: the most that a photo of the data has."""
    skip_crowd_during_training: bool = option(True, shapes=True)
    """Leave boxes that mark a crowd out of the training."""
    use_fake_data: bool = option(False, shapes=True)
    """Train on the first batch for ever: a quick proof that the loss falls, and a way to time the step alone."""
    path_output: str = option("")
    """Where the export goes; default: export in the run's folder, or model_ckpts/freeze_model."""
    eval_master: str = option("")
    """Accepted for google/automl's sake; it has no effect there or here."""

    def __post_init__(self) -> None:
        """Checks what contradicts each other."""
        super().__post_init__()
        check(self.map_freq >= 0, "map_freq", self.map_freq, "0 or more", "0 makes about ten evaluations a run")
        for name in ("num_examples_per_epoch", "max_instances_per_image"):
            value = getattr(self, name)
            check(value is None or value >= 1, name, value, "at least 1", "leave it out to take it from the data")
        self._check_data()

    def _check_data(self) -> None:
        if self.train_file_pattern and self.url_dataset:
            raise OptionsError(
                f"Photos are given twice: url_dataset={self.url_dataset!r} and "
                f"train_file_pattern={self.train_file_pattern!r}. Give photos or shards, not both.",
                option="train_file_pattern",
            )
        if not (self.train_file_pattern or self.url_dataset or self.data_dir):
            raise OptionsError(
                "No data: url_dataset must be the address of a zip, a local zip or a folder of annotated photos. "
                "Received nothing from the command line, an @file or the environment; try "
                "`python3 main.py @params.config`, or --train_file_pattern for shards that exist.",
                option="url_dataset",
            )
        if self.mode != "traineval":
            return
        if self.train_file_pattern and not self.val_file_pattern:
            raise OptionsError(
                "traineval needs shards to evaluate on: val_file_pattern must be a glob. Received none beside "
                f"train_file_pattern={self.train_file_pattern!r}; give it, or try --mode=train.",
                option="val_file_pattern",
            )
        if not self.train_file_pattern and self.train_valid_split == 1.0 and not self.val_set:
            raise OptionsError(
                "train_valid_split must be below 1 for traineval, which evaluates on the rest. Received 1.0; "
                "try 0.8, or --mode=train.",
                option="train_valid_split",
            )
