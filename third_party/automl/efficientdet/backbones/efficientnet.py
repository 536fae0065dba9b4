"""EfficientNet and EfficientNet-Lite, without their classification heads.

EfficientNet (Tan and Le, 2019), table 1 and equation 3.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
from keras import ops

from efficientdet.config import DetectorConfig
from efficientdet.layers import ACTIVATIONS, BatchNormalization, Drawn, DropPath
from efficientdet.types import Pyramid, Tensor

SCALES: dict[str, tuple[float, float]] = {
    "efficientnet-b0": (1.0, 1.0),
    "efficientnet-b1": (1.0, 1.1),
    "efficientnet-b2": (1.1, 1.2),
    "efficientnet-b3": (1.2, 1.4),
    "efficientnet-b4": (1.4, 1.8),
    "efficientnet-b5": (1.6, 2.2),
    "efficientnet-b6": (1.8, 2.6),
    "efficientnet-b7": (2.0, 3.1),
    "efficientnet-b8": (2.2, 3.6),
    "efficientnet-l2": (4.3, 5.3),
    "efficientnet-lite0": (1.0, 1.0),
    "efficientnet-lite1": (1.0, 1.1),
    "efficientnet-lite2": (1.1, 1.2),
    "efficientnet-lite3": (1.2, 1.4),
    "efficientnet-lite4": (1.4, 1.8),
}
"""Name → (how much wider, how much deeper) than the stages below."""

STAGES = (
    "r1_k3_s11_e1_i32_o16_se0.25",
    "r2_k3_s22_e6_i16_o24_se0.25",
    "r2_k5_s22_e6_i24_o40_se0.25",
    "r3_k3_s22_e6_i40_o80_se0.25",
    "r3_k5_s11_e6_i80_o112_se0.25",
    "r4_k5_s22_e6_i112_o192_se0.25",
    "r1_k3_s11_e6_i192_o320_se0.25",
)
"""automl's notation: r blocks, kernel, strides, expansion, input and output filters, squeeze-excite ratio."""

STEM_FILTERS = 32
KERNELS = Drawn("normal", variance=2.0, fan="out")
BACKBONE_SURVIVAL_PROB = 0.8
"""How often the last block is kept while training; the first always is, those between in proportion."""


@dataclass(frozen=True, kw_only=True)
class BlockSpec:
    """One block, or a stage of `repeats` of them."""

    repeats: int
    kernel: int
    strides: tuple[int, int]
    expand: int
    filters_in: int
    filters_out: int
    se_ratio: float = 0.0
    has_skip: bool = True
    fused: bool = False
    """Whether one full convolution replaces expansion and depthwise."""
    is_plain: bool = False
    """Whether the expansion is a 3x3 convolution, and no depthwise follows (automl's conv_type 1)."""

    @property
    def filters_inside(self) -> int:
        """Channels between expansion and projection."""
        return self.filters_in * self.expand

    @property
    def is_residual(self) -> bool:
        """Whether the input can be added to the output."""
        return self.has_skip and self.strides == (1, 1) and self.filters_in == self.filters_out


def parse_stage(stage: str | Mapping[str, Any]) -> BlockSpec:
    """Returns the stage that automl's notation describes.

    Args:
      stage: a string such as r2_k5_s22_e6_i24_o40_se0.25_noskip, or a mapping
        with the names of automl's BlockArgs.

    Raises:
      ValueError: not that notation, or a kind of block that no detector uses.
    """
    if isinstance(stage, Mapping):
        stage = _stage_in_notation(stage)
    values: dict[str, str] = {}
    for part in stage.split("_"):
        if found := re.fullmatch(r"(se|[a-z])(\d+(?:\.\d+)?)", part):
            values[found[1]] = found[2]
        elif part not in ("noskip", ""):
            values[part] = ""
    unknown = values.keys() - set("rkseiocf") - {"se", "p"}
    if unknown or not set("rkseio") <= values.keys() or values.get("p", "0") != "0":
        raise ValueError(
            f"A stage of backbone_config must be written like {STAGES[2]}, with c1, f1 or noskip where wanted. "
            f"Received {stage!r}; conditional convolutions and super pixels are not offered."
        )
    strides = values["s"] * 2 if len(values["s"]) == 1 else values["s"]
    return BlockSpec(
        repeats=int(values["r"]),
        kernel=int(values["k"]),
        strides=(int(strides[0]), int(strides[1])),
        expand=int(float(values["e"])),
        filters_in=int(values["i"]),
        filters_out=int(values["o"]),
        se_ratio=float(values.get("se", 0)),
        has_skip="noskip" not in stage,
        is_plain=values.get("c", "0") == "1",
        fused=values.get("f", "0") == "1",
    )


def _stage_in_notation(stage: Mapping[str, Any]) -> str:
    letters = {
        "num_repeat": "r",
        "kernel_size": "k",
        "strides": "s",
        "expand_ratio": "e",
        "input_filters": "i",
        "output_filters": "o",
        "se_ratio": "se",
        "conv_type": "c",
        "fused_conv": "f",
        "super_pixel": "p",
    }
    parts = []
    for key, value in stage.items():
        if key in letters and value is not None:
            digits = "".join(map(str, value)) if isinstance(value, Sequence) else str(value)
            parts.append(letters[key] + digits)
        elif key == "id_skip":
            parts += [] if value else ["noskip"]
        elif key not in letters and value:
            parts.append(key)
    return "_".join(parts)


def round_filters(filters: int, width: float) -> int:
    """Returns filters scaled by the width and rounded to a multiple of 8, never losing a tenth."""
    scaled = filters * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def block_specs(name: str, stages: Sequence[str | Mapping[str, Any]] = STAGES) -> list[BlockSpec]:
    """Returns every block of a backbone, first to last.

    Lite backbones have no squeeze-excite and do not deepen their first and
    last stage.
    """
    width, depth = SCALES[name]
    is_lite = "lite" in name
    specs: list[BlockSpec] = []
    for position, stage in enumerate(map(parse_stage, stages)):
        is_fixed = is_lite and position in (0, len(stages) - 1)
        spec = replace(
            stage,
            repeats=1,
            filters_in=round_filters(stage.filters_in, width),
            filters_out=round_filters(stage.filters_out, width),
            se_ratio=0.0 if is_lite else stage.se_ratio,
        )
        follower = replace(spec, filters_in=spec.filters_out, strides=(1, 1))
        specs += [spec] + [follower] * ((stage.repeats if is_fixed else math.ceil(depth * stage.repeats)) - 1)
    return specs


def _conv(filters: int, kernel: int, name: str, *, strides: Any = 1) -> keras.layers.Layer:
    return keras.layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer=KERNELS,
        name=name,
    )


class ChannelMix(keras.layers.Layer):
    """A 1x1 convolution for a map of one place, computed as a matrix product.

    On a CPU the product and its gradient take a fraction of the convolution's
    time. The kernel keeps a convolution's shape, (1, 1, c, filters), as
    checkpoints have it.

    Takes `(b, c)` and gives `(b, filters)`.
    """

    def __init__(self, filters: int, **options: Any) -> None:
        super().__init__(**options)
        self.filters = filters

    def build(self, input_shape: Sequence[int | None]) -> None:
        self.kernel = self.add_weight(name="kernel", shape=(1, 1, input_shape[-1], self.filters), initializer=KERNELS)
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, x: Tensor) -> Tensor:
        return ops.matmul(x, ops.reshape(self.kernel, self.kernel.shape[2:])) + self.bias


class SqueezeExcite(keras.layers.Layer):
    """Scales each channel by what the whole map holds. Hu et al., 2018.

    Takes and gives `(b, h, w, c)`.
    """

    def __init__(self, reduced: int, act_type: str, **options: Any) -> None:
        super().__init__(**options)
        self.reduced = reduced
        self.act_type = act_type

    def build(self, input_shape: Sequence[int | None]) -> None:
        self.reduce = ChannelMix(self.reduced, name="reduce")
        self.reduce.build((None, input_shape[-1]))
        self.expand = ChannelMix(input_shape[-1], name="expand")
        self.expand.build((None, self.reduced))

    def call(self, x: Tensor) -> Tensor:
        squeezed = ops.mean(x, axis=(1, 2))
        excited = self.expand(ACTIVATIONS[self.act_type](self.reduce(squeezed)))
        return x * ops.reshape(ops.sigmoid(excited), (-1, 1, 1, x.shape[-1]))


class MBConv(keras.layers.Layer):
    """An inverted residual block: widen, look around, weigh, narrow, add.

    Convolutions have no bias and SAME padding, which for stride 2 on an even
    size pads the end only.

    Takes `(b, h, w, c)` and gives `(b, ceil(h / stride), ceil(w / stride), filters_out)`.
    """

    def __init__(self, spec: BlockSpec, act_type: str, drop_path: DropPath | None, **options: Any) -> None:
        super().__init__(**options)
        self.spec = spec
        self.act_type = act_type
        self.drop_path = drop_path if spec.is_residual else None
        self.expand_conv: keras.layers.Layer | None = None
        self.expand_norm: keras.layers.Layer | None = None
        self.spatial_conv: keras.layers.Layer | None = None
        self.spatial_norm: keras.layers.Layer | None = None
        self.squeeze_excite: keras.layers.Layer | None = None

    def build(self, input_shape: Sequence[int | None]) -> None:
        spec = self.spec
        shape = tuple(input_shape)
        if spec.expand != 1 and not spec.fused:
            self.expand_conv = _conv(spec.filters_inside, 3 if spec.is_plain else 1, "expand_conv")
            self.expand_norm = BatchNormalization(name="expand_norm")
            shape = _build_in_row(shape, self.expand_conv, self.expand_norm)
        if not spec.is_plain:
            self.spatial_conv = self._spatial_conv()
            self.spatial_norm = BatchNormalization(name="spatial_norm")
            shape = _build_in_row(shape, self.spatial_conv, self.spatial_norm)
        if 0 < spec.se_ratio <= 1 and not spec.is_plain:
            reduced = max(1, int(spec.filters_in * spec.se_ratio))
            self.squeeze_excite = SqueezeExcite(reduced, self.act_type, name="squeeze_excite")
            self.squeeze_excite.build(shape)
        self.project_conv = _conv(spec.filters_out, 1, "project_conv", strides=spec.strides if spec.is_plain else 1)
        self.project_norm = BatchNormalization(name="project_norm")
        _build_in_row(shape, self.project_conv, self.project_norm)

    def _spatial_conv(self) -> keras.layers.Layer:
        if self.spec.fused:
            return _conv(self.spec.filters_inside, self.spec.kernel, "spatial_conv", strides=self.spec.strides)
        return keras.layers.DepthwiseConv2D(
            self.spec.kernel,
            strides=self.spec.strides,
            padding="same",
            use_bias=False,
            depthwise_initializer=KERNELS,
            name="spatial_conv",
        )

    def call(self, inputs: Tensor, seed: Tensor | None = None, training: bool = False) -> Tensor:
        activation = ACTIVATIONS[self.act_type]
        x = inputs
        if self.expand_conv is not None:
            x = activation(self.expand_norm(self.expand_conv(x), training=training))
        if self.spatial_conv is not None:
            x = activation(self.spatial_norm(self.spatial_conv(x), training=training))
        if self.squeeze_excite is not None:
            x = self.squeeze_excite(x)
        x = self.project_norm(self.project_conv(x), training=training)
        if not self.spec.is_residual:
            return x
        if self.drop_path is not None:
            x = self.drop_path(x, seed=seed, training=training)
        return x + inputs


class EfficientNet(keras.layers.Layer):
    """A stem and a row of blocks; each map that is about to be halved is kept.

    Takes `(b, h, w, 3)` and gives `{level: (b, h, w, c)}` from level 1 on.
    """

    def __init__(
        self,
        specs: Sequence[BlockSpec],
        stem_filters: int,
        act_type: str,
        *,
        survival_prob: float | None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.act_type = act_type
        self.stem_conv = _conv(stem_filters, 3, "stem_conv", strides=2)
        self.stem_norm = BatchNormalization(name="stem_norm")
        self.blocks = []
        for index, spec in enumerate(specs):
            drop_path = None
            if survival_prob is not None and index > 0:
                drop_path = DropPath(1.0 - (1.0 - survival_prob) * index / len(specs), index, name="drop_path")
            self.blocks.append(MBConv(spec, act_type, drop_path, name=f"block_{index}"))

    def build(self, input_shape: Sequence[int | None]) -> None:
        shape = _build_in_row(input_shape, self.stem_conv, self.stem_norm)
        for block in self.blocks:
            block.build(shape)
            shape = (*shape[:-1], block.spec.filters_out)

    @property
    def channels(self) -> dict[int, int]:
        """Channels of each level's map."""
        return {level + 1: self.blocks[index].spec.filters_out for level, index in enumerate(self._last_of_levels())}

    def _last_of_levels(self) -> list[int]:
        """Returns the index of the last block of each level, from level 1 on."""
        strides = [block.spec.strides[0] for block in self.blocks] + [2]
        return [index for index in range(len(self.blocks)) if strides[index + 1] > 1]

    def call(self, images: Tensor, seed: Tensor | None = None, training: bool = False) -> Pyramid:
        x = ACTIVATIONS[self.act_type](self.stem_norm(self.stem_conv(images), training=training))
        pyramid: Pyramid = {}
        last_of_levels = self._last_of_levels()
        for index, block in enumerate(self.blocks):
            x = block(x, seed=seed, training=training)
            if index in last_of_levels:
                pyramid[len(pyramid) + 1] = x
        return pyramid


def _build_in_row(input_shape: Sequence[int | None], *layers: keras.layers.Layer) -> tuple[int | None, ...]:
    """Builds layers that feed one another; returns the shape behind the last."""
    shape = tuple(input_shape)
    for layer in layers:
        layer.build(shape)
        shape = tuple(layer.compute_output_shape(shape))
    return shape


def build_backbone(config: DetectorConfig) -> EfficientNet:
    """Returns the EfficientNet that the config names, not yet built.

    Args:
      config: `backbone_config` may hold stages of one's own, as
        `{"blocks": ["r1_k3_s11_e1_i32_o16_se0.25", …]}`.
    """
    stages = STAGES if config.backbone_config is None else config.backbone_config.get("blocks", STAGES)
    name = config.backbone_name
    stem_filters = STEM_FILTERS if "lite" in name else round_filters(STEM_FILTERS, SCALES[name][0])
    # automl drops no block of a backbone with b0 in its name; lite0 is no such.
    survival_prob = None if "b0" in name else BACKBONE_SURVIVAL_PROB
    return EfficientNet(
        block_specs(name, stages), stem_filters, config.act_type, survival_prob=survival_prob, name="backbone"
    )
