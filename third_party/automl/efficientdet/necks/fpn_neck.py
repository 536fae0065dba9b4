"""Feature pyramid network (FPN) with extra levels, as in RetinaNet and its successors.

Lin et al. 2017, "Feature Pyramid Networks for Object Detection"; the extra
levels follow Lin et al. 2017, "Focal Loss for Dense Object Detection".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import ops

from efficientdet.automl.hparams import unknown_name
from efficientdet.backbones.weight_standardized import LAYER_ACTIVATIONS, NORMS
from efficientdet.layers import GLOROT_UNIFORM, nearest_upsampled
from efficientdet.types import Pyramid, Tensor

EXTRA_SOURCES = ("on_input", "on_lateral", "on_output")
ORDERS = (("conv", "norm", "act"), ("norm", "act", "conv"), ("act", "conv", "norm"))


class ConvNormAct(keras.layers.Layer):
    """A convolution, a normalization and an activation, in any of `ORDERS`.

    The convolution has a bias if there is no normalization. Takes
    `(b, h, w, c)`; returns `(b, ceil(h / strides), ceil(w / strides), filters)`.
    """

    def __init__(
        self,
        filters: int,
        kernel: int,
        *,
        strides: int = 1,
        norm: str = "",
        act: str = "",
        order: tuple[str, str, str] = ORDERS[0],
        initializer: Any = GLOROT_UNIFORM,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if tuple(order) not in ORDERS:
            raise ValueError(f"order must be one of {', '.join(map(str, ORDERS))}. Received {order}.")
        self.order = tuple(order)
        self.act = act
        self.conv = keras.layers.Conv2D(
            filters,
            kernel,
            strides=strides,
            padding="same",
            use_bias=not norm,
            kernel_initializer=initializer,
            name="conv",
        )
        self.norm = NORMS[norm]("norm")

    def build(self, input_shape: Sequence[int | None]) -> None:
        self.conv.build(input_shape)
        is_behind_conv = self.order.index("norm") > self.order.index("conv")
        self.norm.build((*input_shape[:-1], self.conv.filters) if is_behind_conv else input_shape)

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        for step in self.order:
            if step == "conv":
                x = self.conv(x)
            elif step == "norm":
                x = self.norm(x, training=training)
            else:
                x = LAYER_ACTIVATIONS[self.act](x)
        return x


@dataclass(frozen=True, kw_only=True)
class FpnPart:
    """Configuration of an FPN; field names are those of mmdet and tfdet."""

    num_nb_outs: int
    """Number of pyramid levels of the output."""
    filters: int = 256
    num_nb_ins: int = 4
    """Number of input maps: the highest levels of the backbone."""
    start_level: int | None = None
    """Index of the lowest input map that is used. None: the one with the head's lowest stride."""
    end_level: int = -1
    """Index after the highest input map that is used; -1 uses all, and only then extra levels follow."""
    add_extra_convs: bool = False
    """Whether extra levels are convolutions with stride 2; else every second pixel of the level below."""
    extra_convs_on: str = "on_input"
    """Input of the first extra convolution: the backbone's highest map, its lateral, or the highest output."""
    relu_before_extra_convs: bool = False
    """Whether a ReLU precedes each extra convolution except the first."""
    no_norm_on_lateral: bool = False
    act_layer: str = ""
    norm_layer: str = ""
    upsample_cfg: Mapping[str, Any] = field(default_factory=dict)
    """interpolation: only nearest; size: 2."""

    def __post_init__(self) -> None:
        for key, known in (("norm_layer", NORMS), ("act_layer", LAYER_ACTIVATIONS)):
            if getattr(self, key) not in known:
                raise ValueError(unknown_name(key, getattr(self, key), known))
        if self.extra_convs_on not in EXTRA_SOURCES:
            raise ValueError(unknown_name("extra_convs_on", self.extra_convs_on, EXTRA_SOURCES))
        if dict(self.upsample_cfg) not in ({}, *({"interpolation": "nearest", **size} for size in ({}, {"size": 2}))):
            raise ValueError(
                f"upsample_cfg must be interpolation: nearest, size: 2. Received {dict(self.upsample_cfg)}."
            )
        if min(self.num_nb_outs, self.filters, self.num_nb_ins) < 1:
            raise ValueError(
                "num_nb_outs, filters and num_nb_ins must be 1 or more. "
                f"Received {self.num_nb_outs}, {self.filters} and {self.num_nb_ins}."
            )
        if not -1 <= self.end_level <= self.num_nb_ins or self.end_level == 0:
            raise ValueError(f"end_level must be 1 to num_nb_ins={self.num_nb_ins}, or -1. Received {self.end_level}.")
        if self.start_level is not None and not 0 <= self.start_level < self.num_nb_ins:
            raise ValueError(
                f"start_level must be 0 to {self.num_nb_ins - 1}, an index among num_nb_ins={self.num_nb_ins} maps. "
                f"Received {self.start_level}."
            )

    def levels(self, backbone_levels: Sequence[int], lowest: int | None) -> range:
        """Returns the pyramid levels of the output.

        Args:
          backbone_levels: levels of the backbone's maps.
          lowest: level of the head's lowest stride; None if the head has no strides.

        Raises:
          ValueError: the backbone has fewer maps, or lacks the requested level.
        """
        if len(backbone_levels) < self.num_nb_ins:
            raise ValueError(
                f"neck.num_nb_ins={self.num_nb_ins} maps of the backbone are needed. It has those of levels "
                f"{', '.join(map(str, sorted(backbone_levels)))}."
            )
        given = sorted(backbone_levels)[-self.num_nb_ins :]
        end = given[-1] + 1 if self.end_level == -1 else given[self.end_level - 1] + 1
        start = given[self.start_level] if self.start_level is not None else (lowest or given[0])
        if start not in given or start >= end:
            raise ValueError(
                f"The lowest level of the pyramid must be one of the backbone's {given} below {end}. "
                f"Received level {start}, from the head's strides or neck.start_level."
            )
        is_extended = self.num_nb_outs > end - start
        if self.num_nb_outs < end - start or (is_extended and self.end_level != -1):
            raise ValueError(
                f"neck.num_nb_outs must be {end - start}, the levels from {start} to {end - 1}"
                f"{', or more' if self.end_level == -1 else ', because end_level is set'}. "
                f"Received num_nb_outs={self.num_nb_outs}."
            )
        return range(start, start + self.num_nb_outs)

    def build(self, levels: range) -> "FpnNeck":
        """Returns the neck with the output levels of `levels`."""
        return FpnNeck(self, levels, name="neck")


class FpnNeck(keras.layers.Layer):
    """Lateral convolutions, top-down pathway, one output convolution per level, and extra levels.

    Takes the backbone's `{level: (b, h, w, c)}`; returns `{level: (b, h, w, filters)}`.
    """

    def __init__(self, part: FpnPart, levels: range, **options: Any) -> None:
        super().__init__(**options)
        self.part = part
        self.levels = levels
        self.laterals: dict[str, ConvNormAct] = {}
        self.outputs: dict[str, ConvNormAct] = {}
        self.extras: dict[str, ConvNormAct] = {}

    def _conv(self, kernel: int, name: str, *, strides: int = 1, norm: str | None = None) -> ConvNormAct:
        part = self.part
        norm = part.norm_layer if norm is None else norm
        return ConvNormAct(part.filters, kernel, strides=strides, norm=norm, act=part.act_layer, name=name)

    def build(self, input_shapes: dict[int, Sequence[int | None]]) -> None:
        channels = {level: shape[-1] for level, shape in input_shapes.items()}
        inside = (None, None, None, self.part.filters)
        used = [level for level in self.levels if level in channels]
        for level in used:
            norm = "" if self.part.no_norm_on_lateral else None
            self.laterals[str(level)] = lateral = self._conv(1, f"lateral_{level}", norm=norm)
            self.outputs[str(level)] = output = self._conv(3, f"output_{level}")
            lateral.build((None, None, None, channels[level]))
            output.build(inside)
        if not self.part.add_extra_convs:
            return
        for level in self.levels[len(used) :]:
            reads_input = level == used[-1] + 1 and self.part.extra_convs_on == "on_input"
            self.extras[str(level)] = extra = self._conv(3, f"extra_{level}", strides=2)
            extra.build((None, None, None, channels[used[-1]]) if reads_input else inside)

    def call(self, features: Pyramid, training: bool = False) -> Pyramid:
        laterals = {
            int(level): layer(features[int(level)], training=training) for level, layer in self.laterals.items()
        }
        used = sorted(laterals)
        merged = dict(laterals)
        for level in reversed(used[:-1]):
            size = tuple(merged[level].shape[1:3])
            merged[level] = merged[level] + nearest_upsampled(merged[level + 1], size)
        pyramid = {int(level): layer(merged[int(level)], training=training) for level, layer in self.outputs.items()}
        sources = {"on_input": features, "on_lateral": laterals, "on_output": pyramid}[self.part.extra_convs_on]
        for level in self.levels[len(used) :]:
            if not self.part.add_extra_convs:
                pyramid[level] = pyramid[level - 1][:, ::2, ::2]
                continue
            is_first = level == used[-1] + 1
            x = sources[level - 1] if is_first else pyramid[level - 1]
            x = ops.relu(x) if self.part.relu_before_extra_convs and not is_first else x
            pyramid[level] = self.extras[str(level)](x, training=training)
        return pyramid
