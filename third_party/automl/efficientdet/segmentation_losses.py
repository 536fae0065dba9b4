"""Losses of semantic segmentation: cross-entropy, binary cross-entropy, Dice, focal, and weighted sums of them.

`b` batch, `h w` height and width, `k` classes. Logits have k columns, or one
column for two classes: the logit of class 1. Labels are class ids from 0; pixels
with `ignore_id` have no loss. All computations are float32.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from keras import ops

from efficientdet.types import Tensor

IGNORE_ID = 255
"""Value of ignored pixels, as in VOC, Cityscapes and the masks of our records."""


@dataclass(frozen=True, kw_only=True)
class SegmentationLossOptions:
    """Terms of the loss, their weights and parameters."""

    terms: tuple[tuple[str, float], ...] = (("cross_entropy", 1.0),)
    """Names in `LOSSES` and their weights; `parse_loss` reads them from a string."""
    ignore_id: int = IGNORE_ID
    class_weights: tuple[float, ...] = ()
    """Weight of a pixel of each class in cross_entropy, bce and focal, by class id. Empty: all 1."""
    label_smoothing: float = 0.0
    """Fraction by which cross_entropy and bce move labels towards the uniform distribution."""
    focal_alpha: float = 0.25
    """Weight of class 1 in the focal loss with one column; class 0 has weight 1 - alpha."""
    focal_gamma: float = 2.0
    """Exponent of the focal loss: the larger, the smaller the loss of well-classified pixels."""
    dice_smooth: float = 1.0
    """Added to numerator and denominator of Dice, so that absent classes cause no division by zero."""

    def __post_init__(self) -> None:
        if not self.terms:
            raise ValueError(f"terms must name one or more of {', '.join(LOSSES)}. Received none.")
        for name, weight in self.terms:
            if name not in LOSSES or weight <= 0:
                raise ValueError(
                    f"terms must be names of {', '.join(LOSSES)} with weights above 0. Received {name!r} with {weight}."
                )
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be from 0 to below 1. Received {self.label_smoothing}.")
        if self.dice_smooth < 0 or self.focal_gamma < 0 or not 0 < self.focal_alpha < 1:
            raise ValueError(
                "dice_smooth and focal_gamma must not be negative, and focal_alpha must be between 0 and 1. Received "
                f"dice_smooth={self.dice_smooth}, focal_gamma={self.focal_gamma}, focal_alpha={self.focal_alpha}."
            )
        if self.class_weights and min(self.class_weights) < 0:
            raise ValueError(f"class_weights must not be negative. Received {self.class_weights}.")


def parse_loss(text: str) -> tuple[tuple[str, float], ...]:
    """Returns the terms of a string such as "bce+0.5*dice".

    Raises:
      ValueError: the string does not have this form, or names an unknown loss.
    """
    terms = []
    for part in text.replace(" ", "").split("+"):
        match = re.fullmatch(r"(?:(\d+\.?\d*|\.\d+)\*)?([a-z_]+)", part)
        if match is None or match[2] not in LOSSES:
            raise ValueError(
                f"A segmentation loss is a sum of {', '.join(LOSSES)}, such as bce+0.5*dice. Received {text!r}; "
                f"{part!r} is none of them."
            )
        terms.append((match[2], float(match[1] or 1)))
    return tuple(terms)


def segmentation_loss(
    logits: Float[Tensor, "b h w c"], labels: Int[Tensor, "b h w"], options: SegmentationLossOptions
) -> dict[str, Tensor]:
    """Returns each term by name, without its weight, and their weighted sum as "loss".

    The loss of a batch in which all pixels are ignored is 0. A label that is
    neither a class nor `ignore_id` makes the loss NaN, because a compiled step
    cannot raise an error.

    Args:
      logits: k columns; one column for two classes.
      labels: class ids.
      options: terms of the loss and their parameters.
    """
    logits = ops.cast(logits, "float32")
    labels = ops.cast(labels, "int32")
    num_classes = max(2, logits.shape[-1])
    if options.class_weights and len(options.class_weights) != num_classes:
        raise ValueError(
            f"class_weights must have one number per class, {num_classes}. Received {len(options.class_weights)}."
        )
    counted = ops.not_equal(labels, options.ignore_id)
    is_class = ops.logical_and(labels >= 0, labels < num_classes)
    safe = ops.where(ops.logical_and(counted, is_class), labels, 0)
    terms = {name: LOSSES[name](logits, safe, counted, options) for name, _ in options.terms}
    total = sum(weight * terms[name] for name, weight in options.terms)
    has_unknown_label = ops.any(ops.logical_and(counted, ops.logical_not(is_class)))
    return {**terms, "loss": ops.where(has_unknown_label, float("nan"), total)}


def cross_entropy(
    logits: Float[Tensor, "b h w c"],
    labels: Int[Tensor, "b h w"],
    counted: Bool[Tensor, "b h w"],
    options: SegmentationLossOptions,
) -> Tensor:
    """Returns the mean cross-entropy of the softmax, or of the sigmoid of one column, weighted by class_weights."""
    if logits.shape[-1] == 1:
        return bce(logits, labels, counted, options)
    values = ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    if options.label_smoothing:
        uniform = ops.logsumexp(logits, axis=-1) - ops.mean(logits, axis=-1)
        values = (1 - options.label_smoothing) * values + options.label_smoothing * uniform
    return _weighted_mean(values, _pixel_weights(labels, counted, options))


def bce(
    logits: Float[Tensor, "b h w c"],
    labels: Int[Tensor, "b h w"],
    counted: Bool[Tensor, "b h w"],
    options: SegmentationLossOptions,
) -> Tensor:
    """Returns the mean binary cross-entropy of sigmoids: of class 1, or of each class against the rest."""
    truth = _one_hot(labels, logits.shape[-1])
    truth = truth * (1 - options.label_smoothing) + 0.5 * options.label_smoothing
    values = ops.mean(ops.softplus(logits) - logits * truth, axis=-1)
    return _weighted_mean(values, _pixel_weights(labels, counted, options))


def dice(
    logits: Float[Tensor, "b h w c"],
    labels: Int[Tensor, "b h w"],
    counted: Bool[Tensor, "b h w"],
    options: SegmentationLossOptions,
) -> Tensor:
    """Returns one minus the soft Dice coefficient over the batch: of class 1, or averaged over all classes.

    Milletari et al. 2016, with plain sums in the denominator:
    (2 * sum(p * t) + s) / (sum(p) + sum(t) + s).
    """
    is_binary = logits.shape[-1] == 1
    probabilities = ops.sigmoid(logits) if is_binary else ops.softmax(logits, axis=-1)
    counts = ops.cast(counted, "float32")[..., None]
    truth = _one_hot(labels, logits.shape[-1]) * counts
    probabilities = probabilities * counts
    common = ops.sum(probabilities * truth, axis=(0, 1, 2))
    both = ops.sum(probabilities, axis=(0, 1, 2)) + ops.sum(truth, axis=(0, 1, 2))
    denominator = ops.maximum(both + options.dice_smooth, 1e-7)
    losses = 1.0 - (2.0 * common + options.dice_smooth) / denominator
    return ops.where(ops.any(counted), ops.mean(losses), 0.0)


def focal(
    logits: Float[Tensor, "b h w c"],
    labels: Int[Tensor, "b h w"],
    counted: Bool[Tensor, "b h w"],
    options: SegmentationLossOptions,
) -> Tensor:
    """Returns the mean focal loss, (1 - p)^gamma * -log p of the true class (Lin et al. 2017).

    With one column the weights alpha and 1 - alpha do not change the divisor of
    the mean.
    """
    if logits.shape[-1] == 1:
        sign = 2.0 * ops.cast(labels, "float32") - 1.0
        log_probability = -ops.softplus(-sign * logits[..., 0])
        alpha = ops.where(ops.equal(labels, 1), options.focal_alpha, 1.0 - options.focal_alpha)
    else:
        log_probability = -ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        alpha = 1.0
    # 1 - p by subtraction would lose precision where p is near 1.
    modulator = ops.exp(options.focal_gamma * ops.log(-ops.expm1(ops.minimum(log_probability, -1e-12))))
    return _weighted_mean(-alpha * modulator * log_probability, _pixel_weights(labels, counted, options))


def _one_hot(labels: Tensor, num_columns: int) -> Tensor:
    if num_columns == 1:
        return ops.cast(labels, "float32")[..., None]
    return ops.one_hot(labels, num_columns, dtype="float32")


def pixel_weights(labels: Int[Tensor, "b h w"], options: SegmentationLossOptions) -> Float[Tensor, "b h w"]:
    """Returns the weight of each pixel: 0 where the label is `ignore_id`, else the weight of its class."""
    counted = ops.not_equal(labels, options.ignore_id)
    num_classes = len(options.class_weights) or 256
    is_class = ops.logical_and(labels >= 0, labels < num_classes)
    return _pixel_weights(ops.where(ops.logical_and(counted, is_class), labels, 0), counted, options)


def _pixel_weights(labels: Tensor, counted: Tensor, options: SegmentationLossOptions) -> Tensor:
    weights = ops.cast(counted, "float32")
    if not options.class_weights:
        return weights
    return weights * ops.take(ops.convert_to_tensor(options.class_weights, "float32"), labels)


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    total = ops.sum(weights)
    return ops.sum(values * weights) / ops.where(total > 0, total, 1.0)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor, SegmentationLossOptions], Tensor]] = {
    "cross_entropy": cross_entropy,
    "bce": bce,
    "dice": dice,
    "focal": focal,
}
"""Name → loss function."""
