"""Detection losses: focal loss, Huber loss, IoU losses, and their weighted sum.

Losses are sums over anchors, divided by the number of positive anchors of the
batch plus one; so an image with many objects weighs more than an empty one, and
a batch without objects divides by one. `types` lists the letters of shapes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
from jaxtyping import Bool, Float, Int
from keras import ops

from efficientdet import boxes as box_math
from efficientdet.types import IGNORED, Pyramid, Targets, Tensor

if keras.backend.backend() == "jax":
    from efficientdet.jax_kernels import recomputed_for_gradient
if TYPE_CHECKING:
    from efficientdet.config import DetectorConfig

AUTOML = "automl"

ASSIGNERS = ("max_iou", "atss")
CLASS_LOSSES = ("focal", "quality_focal")
IOU_LOSSES = {"iou": box_math.iou, "giou": box_math.giou, "diou": box_math.diou, "ciou": box_math.ciou}


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """Parameters and weights of the loss terms; names and defaults are automl's."""

    assigner: str = "max_iou"
    """One of `ASSIGNERS`: which anchors are positive. "atss" adapts the IoU from which they are to each object. Not in
    automl."""
    alpha: float = 0.25
    """Weight of positive entries in the focal loss; negative ones have weight 1 - alpha."""
    gamma: float = 1.5
    """Exponent of the focal loss: the larger, the smaller the loss of well-classified entries."""
    label_smoothing: float = 0.0
    class_loss: str = "focal"
    """One of `CLASS_LOSSES`. "quality_focal" trains scores to predict the IoU of the box; no alpha. Not in automl."""
    delta: float = 0.1
    """Error, in encoded units, above which the box loss is linear."""
    box_loss_weight: float = 50.0
    iou_loss_type: str | None = None
    """iou, giou, diou, ciou, or None for no such loss."""
    iou_loss_weight: float = 1.0
    weight_decay: float = 4e-5
    class_weights: tuple[float, ...] = ()
    """Weight of an object of each class, by class index, in the classification and box losses. Empty: all 1."""
    compat: str | None = None
    """"automl" for the arithmetic of the original: coordinates whose target is exactly 0 are not learned, and
    gradients flow through the weight of CIoU's aspect term."""

    def __post_init__(self) -> None:
        if self.iou_loss_type not in (None, "", *IOU_LOSSES):
            raise ValueError(
                f"iou_loss_type must be one of {', '.join(IOU_LOSSES)}, or None for no IoU loss. "
                f"Received {self.iou_loss_type!r}."
            )
        if self.assigner not in ASSIGNERS:
            raise ValueError(f"assigner must be one of {', '.join(ASSIGNERS)}. Received {self.assigner!r}.")
        if self.class_loss not in CLASS_LOSSES:
            raise ValueError(f"class_loss must be one of {', '.join(CLASS_LOSSES)}. Received {self.class_loss!r}.")
        if self.class_loss == "quality_focal" and self.label_smoothing:
            raise ValueError(
                "label_smoothing must be 0 with class_loss='quality_focal', whose labels are overlaps. Received "
                f"{self.label_smoothing}."
            )
        if self.compat not in (None, "", AUTOML):
            raise ValueError(f"compat must be {AUTOML!r} or None. Received {self.compat!r}.")


def detection_losses(
    config: "DetectorConfig",
    outputs: dict[str, Pyramid],
    targets: Targets,
    *,
    anchors: Float[Tensor, "a 4"],
    options: LossOptions,
    normalizer: Tensor | None = None,
) -> dict[str, Tensor]:
    """Returns the loss terms without their weights: "class", "box", "box_iou".

    Args:
      config: of the network; num_classes is used.
      outputs: of the network, raw logits and deltas.
      targets: from `assigners.assign_targets`, batched.
      anchors: from `anchors.anchor_boxes`.
      options: parameters of the losses. "box_iou" is only returned if
        `options.iou_loss_type` is set.
      normalizer: divisor of the sums. None: positive anchors of this batch plus
        one.

    Raises:
      ValueError: outputs and targets differ in their number of anchors.
    """
    logits = _per_anchor(outputs["class"], config.num_classes)
    deltas = ops.concatenate(list(_per_anchor(outputs["box"], 4).values()), axis=1)
    num_outputs, num_targets = deltas.shape[1], targets.class_index.shape[1]
    if None not in (num_outputs, num_targets) and num_outputs != num_targets:
        raise ValueError(
            f"The network's outputs must belong to the anchors of the targets. Received outputs at {num_outputs} "
            f"anchors and targets for {num_targets}. Does the size of the images differ from "
            f"{config.image_size} (height, width)?"
        )
    if normalizer is None:
        normalizer = ops.sum(targets.num_positives) + 1.0

    weights = _object_weights(targets.class_index, options.class_weights)
    quality = None
    if options.class_loss == "quality_focal":
        quality = _overlaps(deltas, targets.boxes, _has_own_class(targets, config.num_classes), anchors=anchors)
    class_loss = _class_loss(logits, targets.class_index, quality, options=options, weights=weights)
    learned = _is_nonzero(targets.boxes) if options.compat == AUTOML else _has_own_class(targets, config.num_classes)
    losses = {
        "class": class_loss / normalizer,
        "box": huber_box_loss(deltas, targets.boxes, learned, delta=options.delta, weights=weights)
        / (4.0 * normalizer),
    }
    if options.iou_loss_type:
        overlap_loss = _encoded_iou_loss(
            deltas,
            targets.boxes,
            learned,
            anchors=anchors,
            options=options,
            weights=weights,
        )
        # automl divides by four here too, though there is one value per box; iou_loss_weight accounts for that.
        losses["box_iou"] = overlap_loss / (4.0 * normalizer)
    return losses


def _class_loss(
    logits: dict[int, Float[Tensor, "b _ k"]],
    class_index: Int[Tensor, "b a"],
    quality: Float[Tensor, "b a"] | None,
    *,
    options: LossOptions,
    weights: Float[Tensor, "b a"] | None,
) -> Tensor:
    """Returns the class loss summed over all levels; only "quality_focal" uses `quality`."""
    total, start = 0.0, 0
    # Level by level, because concatenating the levels would copy the largest tensor of the training step.
    for level_logits in logits.values():
        end = start + ops.shape(level_logits)[1]
        level_weights = None if weights is None else weights[:, start:end]
        level_index = class_index[:, start:end]
        if quality is None:
            total += focal_loss(
                level_logits,
                level_index,
                alpha=options.alpha,
                gamma=options.gamma,
                label_smoothing=options.label_smoothing,
                weights=level_weights,
            )
        else:
            total += quality_focal_loss(
                level_logits, level_index, quality[:, start:end], gamma=options.gamma, weights=level_weights
            )
        start = end
    return total


def quality_focal_loss(
    logits: Float[Tensor, "*b a k"],
    class_index: Int[Tensor, "*b a"],
    quality: Float[Tensor, "*b a"],
    *,
    gamma: float,
    weights: Float[Tensor, "*b a"] | None = None,
) -> Tensor:
    """Returns the quality focal loss, summed over anchors and classes.

    Li et al. 2020, "Generalized Focal Loss", eq. 2, on sigmoids: the label of an
    anchor's class is the quality of its box instead of 1, and the modulating
    factor depends on the distance from it. Scores then also rank boxes by IoU.

    Args:
      logits: one column per class, none for the background.
      class_index: 0-based. Anchors that are BACKGROUND or out of range are
        negative for all classes; IGNORED anchors have no loss.
      quality: label of the anchor's class, 0 to 1, without gradient; arbitrary
        at anchors without a class.
      gamma: exponent of the modulating factor; 2 in the paper.
      weights: of the positive entry of each anchor; None: all are 1.
    """
    logits = ops.cast(logits, "float32")
    quality = ops.stop_gradient(ops.cast(quality, "float32"))

    def loss(logit: Tensor, label: Tensor | float) -> Tensor:
        return ops.power(ops.abs(label - ops.sigmoid(logit)), gamma) * (ops.softplus(logit) - label * logit)

    # As in `focal_loss`: all entries are first treated as negative, then the few positive ones are corrected.
    as_negative = ops.where(ops.equal(class_index, IGNORED), 0.0, ops.sum(loss(logits, 0.0), axis=-1))
    num_classes = logits.shape[-1]
    is_own_class = ops.equal(class_index[..., None], ops.arange(num_classes, dtype="int32"))
    own_logit = ops.sum(ops.where(is_own_class, logits, 0.0), axis=-1)
    is_positive = ops.logical_and(class_index >= 0, class_index < num_classes)
    as_positive = loss(own_logit, quality)
    if weights is not None:
        as_positive = as_positive * weights
    correction = as_positive - loss(own_logit, 0.0)
    return ops.sum(as_negative) + ops.sum(ops.where(is_positive, correction, 0.0))


def focal_loss(
    logits: Float[Tensor, "*b a k"],
    class_index: Int[Tensor, "*b a"],
    *,
    alpha: float,
    gamma: float,
    label_smoothing: float = 0.0,
    weights: Float[Tensor, "*b a"] | None = None,
) -> Tensor:
    """Returns the focal loss, summed over anchors and classes.

    Lin et al. 2017, "Focal Loss for Dense Object Detection", eq. 5, on
    sigmoids: alpha and gamma depend on the true label, the cross-entropy on
    the smoothed one.

    Args:
      logits: one column per class, none for the background.
      class_index: 0-based. Anchors that are BACKGROUND or out of range are
        negative for all classes; IGNORED anchors have no loss.
      alpha: weight of the positive entry of an anchor.
      gamma: exponent of the modulating factor; 0 gives weighted cross-entropy.
      label_smoothing: moves labels by this fraction towards one half.
      weights: of the positive entry of each anchor; None: all are 1.
    """

    def entry_loss(wrong: Tensor) -> Tensor:
        # `wrong` is the logit of the wrong label: x where the label is 0, -x where it is 1. The modulating factor is
        # sigmoid(wrong)^gamma, computed with `exp` because `pow` costs ten times as much.
        cross_entropy = ops.softplus(wrong)
        modulator = ops.exp(gamma * (wrong - cross_entropy))
        return modulator * (cross_entropy - 0.5 * label_smoothing * wrong if label_smoothing else cross_entropy)

    def negative_loss(logits: Tensor) -> Tensor:
        return ops.sum(entry_loss(logits), axis=-1)

    # All entries are first treated as negative, then the few positive ones are corrected: the logits are the largest
    # tensor of a training step, and one-hot targets of the same size would cost as much as the loss.
    logits = ops.cast(logits, "float32")
    is_ignored = ops.equal(class_index, IGNORED)
    is_jax = keras.backend.backend() == "jax"
    of_negatives = recomputed_for_gradient(negative_loss)(logits) if is_jax else negative_loss(logits)
    as_negative = ops.where(is_ignored, 0.0, of_negatives)
    num_classes = logits.shape[-1]
    is_own_class = ops.equal(class_index[..., None], ops.arange(num_classes, dtype="int32"))
    own_logit = ops.sum(ops.where(is_own_class, logits, 0.0), axis=-1)
    is_positive = ops.logical_and(class_index >= 0, class_index < num_classes)
    as_positive = alpha * entry_loss(-own_logit)
    if weights is not None:
        as_positive = as_positive * weights
    correction = as_positive - (1.0 - alpha) * entry_loss(own_logit)
    return (1.0 - alpha) * ops.sum(as_negative) + ops.sum(ops.where(is_positive, correction, 0.0))


def huber_box_loss(
    deltas: Float[Tensor, "*b a 4"],
    targets: Float[Tensor, "*b a 4"],
    learned: Bool[Tensor, "*#b a c"],
    *,
    delta: float,
    weights: Float[Tensor, "*b a"] | None = None,
) -> Tensor:
    """Returns the Huber loss of encoded boxes, summed over all coordinates.

    Args:
      deltas: outputs of the box head.
      targets: from `boxes.encode_boxes`.
      learned: entries with a loss; the last axis is 4, or 1 for whole boxes.
      delta: error above which the loss is linear.
      weights: of each box; None: all are 1.
    """
    error = ops.abs(deltas - targets)
    # Equal to 0.5 e^2 up to delta and delta * (e - delta / 2) above, without a conditional.
    quadratic = ops.minimum(error, delta)
    loss = quadratic * (error - 0.5 * quadratic)
    if weights is not None:
        loss = loss * weights[..., None]
    return ops.sum(ops.where(learned, loss, 0.0))


def iou_box_loss(
    predicted: Float[Tensor, "*#b 4"], target: Float[Tensor, "*#b 4"], *, kind: str, weight_learns: bool = False
) -> Float[Tensor, "*b"]:
    """Returns the IoU loss of each pair of boxes: one minus their IoU.

    The loss is 0 for targets without area.

    Args:
      predicted: decoded boxes, in pixels.
      target: decoded boxes.
      kind: iou, giou, diou or ciou; see `boxes`.
      weight_learns: see `boxes.ciou`; the other kinds ignore it.
    """
    if kind == "ciou":
        overlap = box_math.ciou(predicted, target, weight_learns=weight_learns)
    else:
        overlap = IOU_LOSSES[kind](predicted, target)
    return ops.where(box_math.area(target) > 0.0, 1.0 - overlap, 0.0)


def _encoded_iou_loss(
    deltas: Tensor, targets: Tensor, learned: Tensor, *, anchors: Tensor, options: LossOptions, weights: Tensor | None
) -> Tensor:
    anchors = ops.convert_to_tensor(anchors, "float32")
    # Boxes of zeros have no area and so no loss: this excludes anchors without an object.
    keep = ops.cast(learned, "float32")
    predicted, target = box_math.decode_boxes(deltas, anchors) * keep, box_math.decode_boxes(targets, anchors) * keep
    kind, weight_learns = options.iou_loss_type or "", options.compat == AUTOML
    loss = iou_box_loss(predicted, target, kind=kind, weight_learns=weight_learns)
    return ops.sum(loss if weights is None else loss * weights)


def _overlaps(deltas: Tensor, targets: Tensor, learned: Tensor, *, anchors: Tensor) -> Float[Tensor, "b a"]:
    """Returns the IoU of each predicted box with its target; 0 for anchors without an object."""
    anchors = ops.convert_to_tensor(anchors, "float32")
    keep = ops.cast(learned, "float32")
    target = box_math.decode_boxes(targets, anchors) * keep
    overlap = box_math.iou(box_math.decode_boxes(ops.stop_gradient(deltas), anchors) * keep, target)
    return ops.where(box_math.area(target) > 0.0, overlap, 0.0)


def _object_weights(class_index: Int[Tensor, "b a"], class_weights: tuple[float, ...]) -> Tensor | None:
    """Returns the weight of each anchor's object; values at anchors without an object are arbitrary."""
    if not class_weights:
        return None
    last = len(class_weights) - 1
    return ops.take(ops.convert_to_tensor(class_weights, "float32"), ops.clip(class_index, 0, last), axis=0)


def l2_regularization(variables: Iterable[Any], weight_decay: float) -> Tensor:
    """Returns the L2 penalty: weight_decay times half the sum of squares of all kernels.

    Args:
      variables: trainable Keras variables. Only kernels are decayed, including
        depthwise and pointwise ones; biases and normalizations are not.
      weight_decay: as in `LossOptions`.
    """
    kernels = [ops.cast(variable, "float32") for variable in variables if variable.name.endswith("kernel")]
    return 0.5 * weight_decay * sum((ops.sum(ops.square(kernel)) for kernel in kernels), start=0.0)


def _is_nonzero(deltas: Float[Tensor, "*b a 4"]) -> Bool[Tensor, "*b a 4"]:
    """Returns the coordinates that automl learns: those whose target is not 0.

    There log(h / h) is exactly 0; here log(h) - log(h) may have a rounding error.
    """
    return ops.abs(deltas) > 1e-6


def _has_own_class(targets: Targets, num_classes: int) -> Bool[Tensor, "b a 1"]:
    """Returns which boxes are learned: not those with a label that has no output column."""
    return ops.logical_and(targets.class_index >= 0, targets.class_index < num_classes)[..., None]


def _per_anchor(pyramid: Pyramid, depth: int) -> dict[int, Float[Tensor, "b a c"]]:
    """Returns each level reshaped to a list of anchors, in the order of `anchor_boxes`."""
    flat = {}
    for level in sorted(pyramid):
        feature_map = ops.cast(pyramid[level], "float32")
        flat[level] = ops.reshape(feature_map, (ops.shape(feature_map)[0], -1, depth))
    return flat
