"""Classification and box losses of detector heads, each summed over the priors of a batch."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from jaxtyping import Bool, Float, Int
from keras import ops

from efficientdet.automl.hparams import unknown_name
from efficientdet.losses import IOU_LOSSES, focal_loss
from efficientdet.types import IGNORED, Tensor


class ClassLoss(Protocol):
    """A classification loss of logits."""

    loss_weight: float

    def __call__(
        self, logits: Float[Tensor, "b a k"], class_index: Int[Tensor, "b a"], quality: Float[Tensor, "b a"]
    ) -> Tensor:
        """Returns the sum over priors and classes, without `loss_weight`."""
        ...


class BoxPair(NamedTuple):
    """Predictions and targets of the box regression at each prior."""

    deltas: Float[Tensor, "b a 4"]
    target_deltas: Float[Tensor, "b a 4"]
    boxes: Float[Tensor, "b a 4"]
    target_boxes: Float[Tensor, "b a 4"]


class BoxLoss(Protocol):
    """A box regression loss."""

    loss_weight: float

    def __call__(self, pair: BoxPair, is_positive: Bool[Tensor, "b a"]) -> Tensor:
        """Returns the sum over positive priors, without `loss_weight`."""
        ...


def _check_sigmoid(use_sigmoid: bool) -> None:
    if not use_sigmoid:
        raise ValueError("use_sigmoid must be true; a softmax over classes and background is not supported.")


@dataclass(frozen=True, kw_only=True)
class FocalLoss:
    """Focal loss on sigmoids (Lin et al. 2017, "Focal Loss for Dense Object Detection")."""

    gamma: float = 2.0
    alpha: float = 0.25
    use_sigmoid: bool = True
    loss_weight: float = 1.0

    def __post_init__(self) -> None:
        _check_sigmoid(self.use_sigmoid)

    def __call__(self, logits: Tensor, class_index: Tensor, quality: Tensor) -> Tensor:
        """Returns the sum over priors and classes."""
        return focal_loss(logits, class_index, alpha=self.alpha, gamma=self.gamma)


@dataclass(frozen=True, kw_only=True)
class QualityFocalLoss:
    """Quality focal loss (Li et al. 2020, "Generalized Focal Loss"): the class target is the quality of the prior."""

    beta: float = 2.0
    use_sigmoid: bool = True
    loss_weight: float = 1.0

    def __post_init__(self) -> None:
        _check_sigmoid(self.use_sigmoid)

    def __call__(self, logits: Tensor, class_index: Tensor, quality: Tensor) -> Tensor:
        """Returns the sum over priors and classes."""
        target = ops.one_hot(class_index, logits.shape[-1], dtype="float32") * quality[..., None]
        loss = ops.power(ops.abs(target - ops.sigmoid(logits)) + 1e-12, self.beta) * binary_cross_entropy(
            logits, target
        )
        return ops.sum(ops.where(ops.equal(class_index, IGNORED)[..., None], 0.0, loss))


@dataclass(frozen=True, kw_only=True)
class BinaryCrossEntropyLoss:
    """Binary cross-entropy whose class target is the quality of the prior, as in YOLOX."""

    loss_weight: float = 1.0

    def __call__(self, logits: Tensor, class_index: Tensor, quality: Tensor) -> Tensor:
        """Returns the sum over priors and classes."""
        target = ops.one_hot(class_index, logits.shape[-1], dtype="float32") * quality[..., None]
        loss = binary_cross_entropy(logits, target)
        return ops.sum(ops.where(ops.equal(class_index, IGNORED)[..., None], 0.0, loss))


def binary_cross_entropy(logits: Float[Tensor, "*b"], target: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Returns the binary cross-entropy of each logit with a target of 0 to 1."""
    return ops.softplus(logits) - target * logits


@dataclass(frozen=True, kw_only=True)
class SmoothL1Loss:
    """Smooth L1 loss (Girshick 2015, "Fast R-CNN"): quadratic below an error `beta` in encoded units, else linear."""

    beta: float = 1.0
    loss_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.beta <= 0:
            raise ValueError(f"beta must be above 0. Received {self.beta}.")

    def __call__(self, pair: BoxPair, is_positive: Tensor) -> Tensor:
        """Returns the sum over coordinates."""
        error = ops.abs(pair.deltas - pair.target_deltas)
        quadratic = ops.minimum(error, self.beta)
        loss = quadratic * (error - 0.5 * quadratic) / self.beta
        return ops.sum(ops.where(is_positive[..., None], loss, 0.0))


@dataclass(frozen=True, kw_only=True)
class IouLoss:
    """IoU loss: one minus the IoU of decoded boxes; `boxes` has the variants."""

    kind: str = "iou"
    loss_weight: float = 1.0
    squared: bool = False
    """Whether the loss is 1 - IoU^2, as in YOLOX; the sign of a negative value is kept."""

    def __post_init__(self) -> None:
        if self.kind not in IOU_LOSSES:
            raise ValueError(unknown_name("kind", self.kind, IOU_LOSSES))

    def __call__(self, pair: BoxPair, is_positive: Tensor) -> Tensor:
        """Returns the sum over boxes."""
        # At negative priors both boxes are set to the same box, so that gradients stay finite; the result is masked.
        target = ops.where(is_positive[..., None], pair.target_boxes, ops.convert_to_tensor([0.0, 0.0, 1.0, 1.0]))
        boxes = ops.where(is_positive[..., None], pair.boxes, target)
        overlap = IOU_LOSSES[self.kind](boxes, target)
        if self.squared:
            overlap = overlap * ops.abs(overlap)
        return ops.sum(ops.where(is_positive, 1.0 - overlap, 0.0))


@dataclass(frozen=True, kw_only=True)
class GiouLoss(IouLoss):
    """`IouLoss` of kind giou."""

    kind: str = "giou"


@dataclass(frozen=True, kw_only=True)
class DiouLoss(IouLoss):
    """`IouLoss` of kind diou."""

    kind: str = "diou"


@dataclass(frozen=True, kw_only=True)
class CiouLoss(IouLoss):
    """`IouLoss` of kind ciou."""

    kind: str = "ciou"


CLASS_LOSSES: dict[str, type] = {
    "focalloss": FocalLoss,
    "qualityfocalloss": QualityFocalLoss,
    "binarycrossentropyloss": BinaryCrossEntropyLoss,
}
BOX_LOSSES: dict[str, type] = {
    "smoothl1loss": SmoothL1Loss,
    "iouloss": IouLoss,
    "giouloss": GiouLoss,
    "diouloss": DiouLoss,
    "ciouloss": CiouLoss,
}
"""Lower-case name → dataclass; the keys of a loss are its fields."""
