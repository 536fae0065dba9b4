"""Training recipe for a data set: optimizer, schedule, augmentation, anchors and canvas, each with its reason.

A pure function of a few facts, so that the same data give the same recipe. The
rules for small data are based on the experiments in docs/recipes.md and
docs/scratch-recipe.md.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from efficientdet_pipeline.models.canvas import Canvas
from efficientdet_pipeline.options.hparams import hparam_text
from tfrmod.counted import counted

MANY_IMAGES = 5_000
"""Number of training images from which google/automl's defaults are kept: they are made for long runs."""

BATCH_SIZE = 8
FEW_IMAGES, BATCH_OF_FEW = 40, 4
"""Number of training images below which the batch is smaller: eight at a time are fewer than five steps an epoch."""

SMALLEST_SIDE = 20.0
"""Target size of the median box of the smallest class, in canvas pixels.

On blood cells and chess pieces, AP is .06 higher with 19 px than with 15 (docs/recipes.md).
"""

ENOUGH_BOXES = 10
"""Boxes from which a class is judged by its own, unless no class has as many."""

STEPS, STEPS_WITH_ACCELERATOR = 800, 3_000
EPOCHS = (15, 100)
"""Minimum and maximum."""

SHORT_RUN = 600
"""Number of steps up to which the higher rate is better with an ImageNet backbone."""

ALIKE = 0.3
"""Standard deviation of log sizes within a class up to which sizes count as similar; 0.3 is a factor of 1.35."""

POORLY_MATCHED = 0.9
"""Share of matched boxes of a class below which anchors are fitted."""

GAIN_OF_ANCHORS = 0.05
"""Additional share of boxes that fitted anchors must match if heads start from random weights."""

GAIN_WITH_DETECTOR = 0.25
"""The same if pretrained heads were trained with the model's own anchors."""

FROZEN_SHARE = 2 / 3
_JITTER = ("jitter_min", "jitter_max")
TOGETHER: dict[str, tuple[str, ...]] = {
    # A learning rate depends on the optimizer, a warm-up on the rate, and one end of a range on the other.
    "optimizer": ("learning_rate", "lr_warmup_init", "lr_warmup_epoch"),
    "learning_rate": ("lr_warmup_init",),
    "jitter_min": _JITTER,
    "jitter_max": _JITTER,
    "augment": (*_JITTER, "mosaic"),
    "augment_recipe": (*_JITTER, "mosaic"),
    "augment_config": (*_JITTER, "mosaic"),
    "var_freeze_expr": ("freeze_backbone_epochs",),
}
"""Option → options whose recommended values depend on it and are dropped if a user sets it."""
NUM_EVALUATIONS = 5


class Start(StrEnum):
    """Initial weights of a training."""

    DETECTOR = "detector"
    BACKBONE = "backbone"
    RANDOM = "random"


@dataclass(frozen=True, kw_only=True)
class AnchorFacts:
    """Match of a network's anchors with the boxes, on the canvas of the recipe."""

    recall: float
    """Share of boxes with an IoU of at least 0.5 with an anchor of the model, in the class where it is smallest."""
    fitted_recall: float
    """The same with the anchors of `hparams`."""
    hparams: Mapping[str, float | tuple[float, ...]]
    """The fitted anchors: anchor_scale and aspect_ratios."""


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """Properties of a data set that the recipe depends on."""

    num_images: int
    """Number of training images."""
    num_boxes: int
    start: Start
    canvases: tuple[Canvas, ...]
    """Canvases to choose from, smallest first."""
    size_spread: float
    """Standard deviation of the natural logarithm of box sides within a class, averaged over boxes."""
    has_accelerator: bool = False
    anchors: AnchorFacts | None = None
    """None if not computed."""
    num_epochs: int | None = None
    """As set by the user, and respected by the rest of the recipe; None: the recipe decides."""
    batch_size: int | None = None
    """Likewise."""
    is_compressed: bool = False
    """Whether the training prunes, clusters or quantizes a trained detector."""

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.num_images < 1:
            raise ValueError(
                f"num_images must be at least 1. Received {self.num_images}; a recipe needs training images."
            )
        for name in ("num_epochs", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, or None. Received {value}.")
        if not self.canvases:
            raise ValueError("canvases must not be empty.")
        for name in ("num_boxes", "size_spread"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name} must be a finite number of at least 0. Received {value}.")


@dataclass(frozen=True)
class Choice:
    """One decision of a recipe."""

    option: str
    """Name of the option."""
    value: int | float | str | bool
    reason: str


@dataclass(frozen=True)
class Recipe:
    """Decisions in the order of printing."""

    choices: tuple[Choice, ...] = field(default_factory=tuple)

    def options(self) -> dict[str, int | float | str | bool]:
        """Returns {option: value}."""
        return {choice.option: choice.value for choice in self.choices}

    def without(self, given: Collection[str]) -> "Recipe":
        """Returns the recipe without the options that a user set, and without those that depend on them."""
        left_out = {*given, *(name for each in given for name in TOGETHER.get(each, ()))}
        return Recipe(tuple(choice for choice in self.choices if choice.option not in left_out))

    def lines(self) -> list[str]:
        """Returns a table: option, value and reason, one line each."""
        width = max((len(f"{choice.option}={choice.value}") for choice in self.choices), default=0)
        return [f"  {f'{choice.option}={choice.value}':<{width}}  {choice.reason}" for choice in self.choices]


def box_facts(sides: np.ndarray, class_ids: np.ndarray) -> tuple[float, float]:
    """Returns `smallest_side` of a canvas and `size_spread` of `DatasetFacts`; 0 for both without boxes.

    A class of fewer than `ENOUGH_BOXES` boxes does not decide on the smallest side where others have as many.

    Args:
      sides: (n,), the root of the area of each box in canvas pixels; boxes without an area are left out.
      class_ids: (n,).
    """
    sides, ids = sides[sides > 0], class_ids[sides > 0]
    if not len(sides):
        return 0.0, 0.0
    of_class = [sides[ids == class_id] for class_id in np.unique(ids)]
    spread = sum(len(each) * float(np.log(each).std()) for each in of_class) / len(sides)
    return min(float(np.median(sides[ids == class_id])) for class_id in judged_classes(ids)), spread


def judged_classes(class_ids: np.ndarray) -> np.ndarray:
    """Returns the ids of the classes with enough boxes; of those with the most if none has enough.

    Args:
      class_ids: of the boxes, at least one.
    """
    found, counts = np.unique(class_ids, return_counts=True)
    return found[counts >= min(ENOUGH_BOXES, counts.max())]


def choose_recipe(facts: DatasetFacts) -> Recipe:
    """Returns the recipe for a data set; empty if google/automl's defaults are better.

    Every choice has a reason. `Recipe.without` removes options that a user set.
    """
    if facts.num_images >= MANY_IMAGES:
        return Recipe()
    epochs = _num_epochs(facts)
    choices = [
        _image_size(facts),
        Choice("batch_size", _batch_size(facts), f"{counted(_steps_an_epoch(facts), 'step')} an epoch from few images"),
        epochs,
    ]
    choices += _optimizer(facts, int(epochs.value))
    choices += _frozen(facts, int(epochs.value))
    choices += _augmentation(facts)
    choices += _anchors(facts)
    choices += _evaluation(facts, int(epochs.value))
    return Recipe(tuple(choices))


def _image_size(facts: DatasetFacts) -> Choice:
    if not facts.canvases[0].smallest_side:
        return Choice("image_size", str(facts.canvases[0]), "there are no boxes to measure")
    fits = [canvas for canvas in facts.canvases if canvas.smallest_side >= SMALLEST_SIDE]
    canvas = fits[0] if fits else facts.canvases[-1]
    shape = "" if canvas.height == canvas.width else "in the proportions of the images; "
    pixels = f"{shape}boxes of the smallest class have a median side of {canvas.smallest_side:.0f} px"
    if fits:
        return Choice("image_size", str(canvas), f"{pixels}, and {SMALLEST_SIDE:.0f} px are enough")
    where = "is the maximum" if facts.has_accelerator else "is the maximum on a CPU"
    return Choice("image_size", str(canvas), f"{pixels}, fewer than {SMALLEST_SIDE:.0f}, but {canvas} {where}")


def _num_epochs(facts: DatasetFacts) -> Choice:
    steps = STEPS_WITH_ACCELERATOR if facts.has_accelerator else STEPS
    a_epoch = _steps_an_epoch(facts)
    epochs = facts.num_epochs or min(max(round(steps / a_epoch), EPOCHS[0]), EPOCHS[1])
    return Choice(
        "num_epochs",
        epochs,
        f"{counted(epochs * a_epoch, 'step')}, {counted(facts.num_images, 'image')}; the target is about {steps:,}",
    )


def _steps_an_epoch(facts: DatasetFacts) -> int:
    return max(1, facts.num_images // _batch_size(facts))


def _batch_size(facts: DatasetFacts) -> int:
    return facts.batch_size or min(BATCH_OF_FEW if facts.num_images < FEW_IMAGES else BATCH_SIZE, facts.num_images)


def _optimizer(facts: DatasetFacts, num_epochs: int) -> list[Choice]:
    num_steps = num_epochs * _steps_an_epoch(facts)
    if facts.start is Start.DETECTOR:
        rate, reason = 0.04, "half of google/automl's, for fine-tuning; not measured here"
        if facts.is_compressed:
            rate, reason = 0.008, "at five times of it, and at an eighth, int8 has a lower AP"
        return [
            Choice("optimizer", "sgd", "neck and heads are pretrained"),
            Choice("learning_rate", rate, reason),
            Choice("lr_warmup_epoch", min(2.0, num_epochs / 4), "a class head for other classes is unstable at first"),
        ]
    rate, reason = 0.032, "half of it gives a lower AP in the same number of steps"
    if facts.start is Start.BACKBONE and num_steps <= SHORT_RUN:
        steps = counted(num_steps, "step")
        rate, reason = 0.064, f"with {steps} from an ImageNet backbone, half of it gives a lower AP"
    return [
        Choice(
            "optimizer", "adam", "neck and heads start from random weights, which SGD does not train in a short run"
        ),
        Choice("learning_rate", rate, reason),
        Choice("lr_warmup_init", 0.0016, "starts low, because Adam's first steps are large"),
    ]


def _frozen(facts: DatasetFacts, num_epochs: int) -> list[Choice]:
    if facts.start is not Start.BACKBONE:
        return []
    epochs = min(round(num_epochs * FROZEN_SHARE), num_epochs - 1)
    if not epochs:
        return []
    return [Choice("freeze_backbone_epochs", epochs, "the same AP, with less than half the time per step")]


def _augmentation(facts: DatasetFacts) -> list[Choice]:
    if facts.size_spread <= ALIKE:
        reason = f"sizes within a class are similar (a factor of {np.exp(facts.size_spread):.2f})"
        low, high = 0.9, 1.1
    else:
        reason = f"sizes within a class differ (by a factor of {np.exp(facts.size_spread):.2f})"
        low, high = 0.7, 1.4
    return [
        Choice("jitter_min", low, reason),
        Choice("jitter_max", high, reason),
        Choice("mosaic", 0.0, "mixed images need more steps than a short run has"),
    ]


def _anchors(facts: DatasetFacts) -> list[Choice]:
    if facts.anchors is None:
        return []
    recall, fitted = facts.anchors.recall, facts.anchors.fitted_recall
    needed = GAIN_WITH_DETECTOR if facts.start is Start.DETECTOR else GAIN_OF_ANCHORS
    if recall >= POORLY_MATCHED or fitted - recall < needed:
        return []
    text = ",".join(f"{key}={hparam_text(value)}" for key, value in facts.anchors.hparams.items())
    return [
        Choice(
            "hparams",
            text,
            f"anchors match {fitted:.0%} of the boxes of the worst class; those of the model {recall:.0%}",
        )
    ]


def _evaluation(facts: DatasetFacts, num_epochs: int) -> list[Choice]:
    every = max(1, round(num_epochs / NUM_EVALUATIONS))
    return [
        Choice("map_freq", every, f"about {NUM_EVALUATIONS} evaluations, and the best checkpoint is kept"),
        Choice("val_loss", True, "AP of few images hides overfitting; the loss on them shows it"),
    ]
