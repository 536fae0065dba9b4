"""What training minimises: focal, Huber and IoU losses, and their sum.

Losses are sums over anchors, divided by the number of positive anchors of the
batch plus one; so an image full of objects weighs more than an empty one, and
a batch without objects divides by one. Letters of shapes stand in `types`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jaxtyping import Bool, Float, Int
from keras import ops

from efficientdet import boxes as box_math
from efficientdet.types import IGNORED, Pyramid, Targets, Tensor

if TYPE_CHECKING:
    from efficientdet.config import DetectorConfig

AUTOML = "automl"

CLASS_LOSSES = ("focal", "quality_focal")
IOU_LOSSES = {"iou": box_math.iou, "giou": box_math.giou, "diou": box_math.diou, "ciou": box_math.ciou}


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """How the parts of the loss are computed and weighed; names and defaults are automl's."""

    alpha: float = 0.25
    """Weight of a positive entry in the focal loss; a negative one weighs 1 - alpha."""
    gamma: float = 1.5
    """How much the focal loss forgives entries that are nearly right."""
    label_smoothing: float = 0.0
    class_loss: str = "focal"
    """One of `CLASS_LOSSES`. "quality_focal" asks a score for how well the box lies; it has no alpha. Not automl's."""
    delta: float = 0.1
    """Error, in encoded units, from which the box loss grows linearly."""
    box_loss_weight: float = 50.0
    iou_loss_type: str | None = None
    """iou, giou, diou, ciou, or None for no such loss."""
    iou_loss_weight: float = 1.0
    weight_decay: float = 4e-5
    class_weights: tuple[float, ...] = ()
    """How much an object of each class counts, by class index: its own entry of the class loss, and its box. Empty:
    all alike."""
    compat: str | None = None
    """"automl" for the original's arithmetic to the letter: coordinates that should be exactly 0 are not learned,
    and the weight of CIoU's aspect term takes part in the gradient."""

    def __post_init__(self) -> None:
        if self.iou_loss_type not in (None, "", *IOU_LOSSES):
            raise ValueError(
                f"iou_loss_type must be one of {', '.join(IOU_LOSSES)}, or None for no IoU loss. "
                f"Received {self.iou_loss_type!r}."
            )
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
    """Returns the parts of the loss, not yet weighed: "class", "box", "box_iou".

    Args:
      config: of the network; num_classes is read.
      outputs: of the network, raw logits and deltas.
      targets: from `assign.assign_targets`, batched.
      anchors: from `anchors.anchor_boxes`.
      options: which losses, and their numbers. "box_iou" is there only with
        `options.iou_loss_type`.
      normalizer: what sums are divided by. None: positive anchors of this
        batch plus one.

    Raises:
      ValueError: the outputs have another number of anchors than the targets.
    """
    logits = _per_anchor(outputs["class"], config.num_classes)
    deltas = ops.concatenate(list(_per_anchor(outputs["box"], 4).values()), axis=1)
    num_outputs, num_targets = deltas.shape[1], targets.class_index.shape[1]
    if None not in (num_outputs, num_targets) and num_outputs != num_targets:
        raise ValueError(
            f"The network's outputs must belong to the anchors of the targets. Received outputs at {num_outputs} "
            f"anchors and targets for {num_targets}: was the network given images of another size than "
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
        # automl divides by four here too, though there is one number a box; iou_loss_weight is meant for that.
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
    """Returns the sum of the class loss over all levels; `quality` is there for "quality_focal" alone."""
    total, start = 0.0, 0
    # Level by level, because joining the levels would copy the largest tensor of the whole step.
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

    Li et al. 2020, "Generalized Focal Loss", eq. 2, on sigmoids: the label of
    an anchor's own class is how well its box lies, not 1, and the modulator is
    the distance from it. Scores then rank boxes by their overlap too.

    Args:
      logits: one column a class, none for the background.
      class_index: 0-based. Anchors that are BACKGROUND or out of range are
        negative for all classes, IGNORED ones do not count.
      quality: label of the own class, 0 to 1; no gradient goes through it.
        It is not looked at where an anchor has no class.
      gamma: exponent of the modulator; the paper has 2.
      weights: of the own entry of each anchor that has one; None: all are 1.
    """
    logits = ops.cast(logits, "float32")
    quality = ops.stop_gradient(ops.cast(quality, "float32"))

    def loss(logit: Tensor, label: Tensor | float) -> Tensor:
        return ops.power(ops.abs(label - ops.sigmoid(logit)), gamma) * (ops.softplus(logit) - label * logit)

    # As in `focal_loss`: all entries are taken for negative, then the few positive ones are put right.
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
    sigmoids: alpha and gamma look at the true label, cross-entropy at the
    smoothed one.

    Args:
      logits: one column a class, none for the background.
      class_index: 0-based. Anchors that are BACKGROUND or out of range are
        negative for all classes, IGNORED ones do not count.
      alpha: weight of the one positive entry of an anchor that has one.
      gamma: 0 leaves plain weighted cross-entropy.
      label_smoothing: how far labels are drawn towards one half.
      weights: of the one positive entry of each anchor; None: all are 1.
    """

    def wrongness(wrong: Tensor) -> Tensor:
        # `wrong` is the logit of being wrong: x where the label is 0, -x where it is 1. Then the modulator is
        # sigmoid(wrong)^gamma, as a power of e because `pow` costs ten times as much.
        cross_entropy = ops.softplus(wrong)
        modulator = ops.exp(gamma * (wrong - cross_entropy))
        return modulator * (cross_entropy - 0.5 * label_smoothing * wrong if label_smoothing else cross_entropy)

    # All entries are taken for negative, then the few positive ones are put right: the tensor of all classes is the
    # largest of a training step, and a one-hot twin of it would cost as much as the loss.
    logits = ops.cast(logits, "float32")
    is_ignored = ops.equal(class_index, IGNORED)
    as_negative = ops.where(is_ignored, 0.0, ops.sum(wrongness(logits), axis=-1))
    num_classes = logits.shape[-1]
    is_own_class = ops.equal(class_index[..., None], ops.arange(num_classes, dtype="int32"))
    own_logit = ops.sum(ops.where(is_own_class, logits, 0.0), axis=-1)
    is_positive = ops.logical_and(class_index >= 0, class_index < num_classes)
    as_positive = alpha * wrongness(-own_logit)
    if weights is not None:
        as_positive = as_positive * weights
    correction = as_positive - (1.0 - alpha) * wrongness(own_logit)
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
      deltas: as the box head emits them.
      targets: as `boxes.encode_boxes` writes them.
      learned: which entries count; the last axis is 4, or 1 for whole boxes.
      delta: error from which the loss grows linearly.
      weights: of each box; None: all are 1.
    """
    error = ops.abs(deltas - targets)
    # Equal to 0.5 e^2 up to delta and delta * (e - delta / 2) beyond, without a choice.
    quadratic = ops.minimum(error, delta)
    loss = quadratic * (error - 0.5 * quadratic)
    if weights is not None:
        loss = loss * weights[..., None]
    return ops.sum(ops.where(learned, loss, 0.0))


def iou_box_loss(
    predicted: Float[Tensor, "*#b 4"], target: Float[Tensor, "*#b 4"], *, kind: str, weight_learns: bool = False
) -> Float[Tensor, "*b"]:
    """Returns one minus the overlap of each pair of boxes.

    Pairs whose target has no size have no loss.

    Args:
      predicted: decoded boxes, in pixels.
      target: decoded boxes.
      kind: iou, giou, diou or ciou; see `boxes`.
      weight_learns: see `boxes.ciou`; of no meaning to the others.
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
    # Zeros have no size and so no loss: that is how anchors without an object are left out.
    keep = ops.cast(learned, "float32")
    predicted, target = box_math.decode_boxes(deltas, anchors) * keep, box_math.decode_boxes(targets, anchors) * keep
    kind, weight_learns = options.iou_loss_type or "", options.compat == AUTOML
    loss = iou_box_loss(predicted, target, kind=kind, weight_learns=weight_learns)
    return ops.sum(loss if weights is None else loss * weights)


def _overlaps(deltas: Tensor, targets: Tensor, learned: Tensor, *, anchors: Tensor) -> Float[Tensor, "b a"]:
    """Returns the overlap of each predicted box with its target; 0 where an anchor has none."""
    anchors = ops.convert_to_tensor(anchors, "float32")
    keep = ops.cast(learned, "float32")
    target = box_math.decode_boxes(targets, anchors) * keep
    overlap = box_math.iou(box_math.decode_boxes(ops.stop_gradient(deltas), anchors) * keep, target)
    return ops.where(box_math.area(target) > 0.0, overlap, 0.0)


def _object_weights(class_index: Int[Tensor, "b a"], class_weights: tuple[float, ...]) -> Tensor | None:
    """Returns how much the object of each anchor counts; what stands at anchors without one is not looked at."""
    if not class_weights:
        return None
    last = len(class_weights) - 1
    return ops.take(ops.convert_to_tensor(class_weights, "float32"), ops.clip(class_index, 0, last), axis=0)


def l2_regularization(variables: Iterable[Any], weight_decay: float) -> Tensor:
    """Returns weight_decay times half the squared length of all kernels.

    Args:
      variables: of Keras, those that learn. Only kernels are decayed, depthwise
        and pointwise ones too; biases and normalisations are passed over.
      weight_decay: as of `LossOptions`.
    """
    kernels = [ops.cast(variable, "float32") for variable in variables if variable.name.endswith("kernel")]
    return 0.5 * weight_decay * sum((ops.sum(ops.square(kernel)) for kernel in kernels), start=0.0)


def _is_nonzero(deltas: Float[Tensor, "*b a 4"]) -> Bool[Tensor, "*b a 4"]:
    """Returns which coordinates automl learns: those whose target is not 0.

    There log(h / h) is exactly 0; here log(h) - log(h) may be off by a rounding.
    """
    return ops.abs(deltas) > 1e-6


def _has_own_class(targets: Targets, num_classes: int) -> Bool[Tensor, "b a 1"]:
    """Returns where a box is learned: with a label that the network has no column for, neither half is."""
    return ops.logical_and(targets.class_index >= 0, targets.class_index < num_classes)[..., None]


def _per_anchor(pyramid: Pyramid, depth: int) -> dict[int, Float[Tensor, "b a c"]]:
    """Returns each level as a list of anchors, in the order of `anchor_boxes`."""
    flat = {}
    for level in sorted(pyramid):
        feature_map = ops.cast(pyramid[level], "float32")
        flat[level] = ops.reshape(feature_map, (ops.shape(feature_map)[0], -1, depth))
    return flat
