"""Base of the anchor-free and YOLO-style heads: shared configuration fields, and matched targets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras
from jaxtyping import Bool, Float, Int
from keras import ops

from efficientdet.automl.hparams import unknown_name
from efficientdet.backbones.weight_standardized import LAYER_ACTIVATIONS, NORMS
from efficientdet.heads.anchor_head import nms_configs_of
from efficientdet.heads.head_interface import Outputs
from efficientdet.heads.twin_towers import Prediction, TwinTowers
from efficientdet.label_assignment.assignment import Assignment, Objects
from efficientdet.types import BACKGROUND, Pyramid, Tensor


@dataclass(frozen=True, kw_only=True)
class CellHeadPart:
    """Configuration fields of all heads with `TwinTowers`."""

    num_classes: int = 80
    filters: int = 64
    num_heads: int = 2
    """Number of convolutions of each tower."""
    separable_conv: bool = True
    act_cfg: str = "swish"
    norm_cfg: str = "batch_norm"
    test_cfg: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(self.num_classes, self.filters) < 1 or self.num_heads < 0:
            raise ValueError(
                "num_classes and filters must be 1 or more, num_heads 0 or more. "
                f"Received {self.num_classes}, {self.filters} and {self.num_heads}."
            )
        tables: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
            ("act_cfg", self.act_cfg, LAYER_ACTIVATIONS),
            ("norm_cfg", self.norm_cfg, NORMS),
        )
        for key, value, known in tables:
            if value not in known:
                raise ValueError(unknown_name(key, value, known))
        _ = self.nms_configs

    @property
    def strides(self) -> None:
        """None: these heads accept all levels of the neck."""
        return

    @property
    def nms_configs(self) -> dict[str, Any]:
        """Returns the NMS settings; see `anchor_head.nms_configs_of`."""
        return nms_configs_of(self.test_cfg)


class CellHead(keras.layers.Layer):
    """A head with `TwinTowers`; subclasses define its predictions and their meaning.

    Takes `{level: (b, h, w, c)}`; returns `{name: {level: (b, h, w, channels)}}`.
    """

    def __init__(self, part: CellHeadPart, levels: range, predictions: Mapping[str, Prediction], **options: Any):
        super().__init__(**options)
        self.levels = levels
        self.nms_configs = part.nms_configs
        self.towers = TwinTowers(
            predictions,
            levels,
            filters=part.filters,
            repeats=part.num_heads,
            act=part.act_cfg,
            norm=part.norm_cfg,
            separable=part.separable_conv,
            name="towers",
        )

    def build(self, input_shapes: Any) -> None:
        self.towers.build(input_shapes)

    def call(self, pyramid: Pyramid, training: bool = False) -> Outputs:
        return self.towers(pyramid, training=training)


class Matched(NamedTuple):
    """Training targets of priors."""

    is_positive: Bool[Tensor, "b a"]
    class_index: Int[Tensor, "b a"]
    """Class of the matched object; BACKGROUND without one."""
    boxes: Float[Tensor, "b a 4"]
    num_positives: Tensor
    """Number of positives of the batch, at least 1."""


def matched(assignment: Assignment, objects: Objects, num_classes: int) -> Matched:
    """Returns the targets of an assignment; priors whose label has no output column are not positive."""
    own = ops.maximum(assignment.row, 0)
    class_index = ops.take_along_axis(objects.class_index, own, axis=1)
    is_positive = ops.logical_and(assignment.row >= 0, class_index < num_classes)
    return Matched(
        is_positive=is_positive,
        class_index=ops.where(is_positive, class_index, BACKGROUND),
        boxes=ops.take_along_axis(objects.boxes, own[..., None], axis=1),
        num_positives=ops.maximum(ops.sum(ops.cast(is_positive, "float32")), 1.0),
    )
