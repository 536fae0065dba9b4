"""EfficientNet and EfficientNet-Lite backbones, without classification head.

EfficientNet (Tan and Le, 2019), table 1 and equation 3.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import keras
from keras import ops

from efficientdet.activations import ACTIVATIONS
from efficientdet.backbones.stages import SCALES, STAGES, BlockSpec, block_specs, last_of_levels, round_filters
from efficientdet.cpu_kernels import DepthwiseConv2D, is_at_work, squeeze_excited
from efficientdet.layers import BatchNormalization, DropPath, NumpyInitializer, recomputed
from efficientdet.types import Pyramid, Tensor

Size = tuple[int, int]

STEM_FILTERS = 32
KERNELS = NumpyInitializer("normal", variance=2.0, fan="out")
BACKBONE_SURVIVAL_PROB = 0.8
"""Survival probability of the last block in training; 1 for the first block, linear in between."""


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
    """A 1x1 convolution of a map of one pixel, computed as a matrix product.

    On a CPU the product and its gradient take a fraction of the convolution's
    time. The kernel has the shape of a convolution's, (1, 1, c, filters), as in
    checkpoints.

    Takes `(b, c)`; returns `(b, filters)`.
    """

    def __init__(self, filters: int, **options: Any) -> None:
        super().__init__(**options)
        self.filters = filters

    def build(self, input_shape: Sequence[int | None]) -> None:
        self.kernel = self.add_weight(name="kernel", shape=(1, 1, input_shape[-1], self.filters), initializer=KERNELS)
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, x: Tensor) -> Tensor:
        return mixed_channels(x, self.kernel, self.bias)


def mixed_channels(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """Returns what `ChannelMix` computes, with other weights than a layer's."""
    return ops.matmul(x, ops.reshape(kernel, kernel.shape[2:])) + bias


class SqueezeExcite(keras.layers.Layer):
    """Squeeze-and-excitation: scales each channel depending on the mean of the map. Hu et al., 2018.

    Takes and returns `(b, h, w, c)`.
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

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        if training and is_at_work():
            weights = (self.reduce.kernel, self.reduce.bias, self.expand.kernel, self.expand.bias)
            return squeeze_excited(x, weights, self._gate)
        squeezed = ops.mean(x, axis=(1, 2))
        excited = self.expand(ACTIVATIONS[self.act_type](self.reduce(squeezed)))
        return x * ops.reshape(ops.sigmoid(excited), (-1, 1, 1, x.shape[-1]))

    def _gate(self, means: Tensor, *weights: Tensor) -> Tensor:
        reduced = ACTIVATIONS[self.act_type](mixed_channels(means, *weights[:2]))
        return ops.sigmoid(mixed_channels(reduced, *weights[2:]))


class MBConv(keras.layers.Layer):
    """Inverted residual block: expansion, depthwise convolution, squeeze-and-excitation, projection.

    Convolutions have no bias and SAME padding, which for stride 2 on an even
    size pads only the end.

    Takes `(b, h, w, c)`; returns `(b, ceil(h / stride), ceil(w / stride), filters_out)`.
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
        return DepthwiseConv2D(
            self.spec.kernel,
            strides=self.spec.strides,
            padding="same",
            use_bias=False,
            depthwise_initializer=KERNELS,
            name="spatial_conv",
        )

    def call(self, inputs: Tensor, seed: Tensor | None = None, training: bool = False) -> Tensor:
        x = self.residual_branch(inputs, seed=seed, training=training)
        return x + inputs if self.spec.is_residual else x

    def residual_branch(self, inputs: Tensor, seed: Tensor | None = None, training: bool = False) -> Tensor:
        """Returns the residual branch of a residual block, or the whole output of another block."""
        activation = ACTIVATIONS[self.act_type]
        x = inputs
        if self.expand_conv is not None:
            x = self.expand_norm(self.expand_conv(x), training=training, activation=activation)
        if self.spatial_conv is not None:
            x = self.spatial_norm(self.spatial_conv(x), training=training, activation=activation)
        if self.squeeze_excite is not None:
            x = self.squeeze_excite(x, training=training)
        x = self.project_norm(self.project_conv(x), training=training)
        if self.drop_path is not None:
            x = self.drop_path(x, seed=seed, training=training)
        return x


class EfficientNet(keras.layers.Layer):
    """A stem and a sequence of blocks; the output is the last map of each level.

    Blocks whose indices are in `recomputed` are recomputed for their gradient.

    Takes `(b, h, w, 3)`; returns `{level: (b, h, w, c)}` from level 1 up.
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
        self.recomputed: frozenset[int] = frozenset()
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
        """Channels of the map of each level."""
        return {level + 1: self.blocks[index].spec.filters_out for level, index in enumerate(self.last_blocks())}

    def last_blocks(self) -> list[int]:
        """Returns the index of the last block of each level, from level 1 up."""
        return last_of_levels([block.spec for block in self.blocks])

    def stem(self, images: Tensor, training: bool = False) -> Tensor:
        """Returns the input of the first block, at half the size of the images."""
        return self.stem_norm(self.stem_conv(images), training=training, activation=ACTIVATIONS[self.act_type])

    def call(self, images: Tensor, seed: Tensor | None = None, training: bool = False) -> Pyramid:
        x = self.stem(images, training=training)
        pyramid: Pyramid = {}
        last_of_levels = self.last_blocks()
        for index, block in enumerate(self.blocks):
            block_call = functools.partial(block, seed=seed, training=training)
            x = recomputed(block_call, x) if training and index in self.recomputed else block_call(x)
            if index in last_of_levels:
                pyramid[len(pyramid) + 1] = x
        return pyramid


def _build_in_row(input_shape: Sequence[int | None], *layers: keras.layers.Layer) -> tuple[int | None, ...]:
    """Builds layers in sequence; returns the output shape of the last."""
    shape = tuple(input_shape)
    for layer in layers:
        layer.build(shape)
        shape = tuple(layer.compute_output_shape(shape))
    return shape


class EfficientNetConfig(Protocol):
    """Fields of `config.DetectorConfig` that this backbone reads."""

    @property
    def backbone_name(self) -> str: ...
    @property
    def backbone_config(self) -> Mapping[str, Any] | None: ...
    @property
    def act_type(self) -> str: ...


def build_backbone(config: EfficientNetConfig) -> EfficientNet:
    """Returns the EfficientNet of a config, not yet built.

    Args:
      config: `backbone_config` may have custom stages,
        `{"blocks": ["r1_k3_s11_e1_i32_o16_se0.25", …]}`.
    """
    stages = STAGES if config.backbone_config is None else config.backbone_config.get("blocks", STAGES)
    name = config.backbone_name
    stem_filters = STEM_FILTERS if "lite" in name else round_filters(STEM_FILTERS, SCALES[name][0])
    # automl drops no block of a backbone with b0 in its name; lite0 is not among them.
    survival_prob = None if "b0" in name else BACKBONE_SURVIVAL_PROB
    return EfficientNet(
        block_specs(name, stages), stem_filters, config.act_type, survival_prob=survival_prob, name="backbone"
    )


class Meter(Protocol):
    """Counter of the operations of layers; `flops.Meter` implements it."""

    def conv(self, layer: keras.layers.Layer, size: Size) -> Size: ...
    def norm(self, size: Size, channels: int) -> None: ...
    def activation(self, size: Size, channels: int) -> None: ...
    def elementwise(self, size: Size, channels: int, times: int = 1) -> None: ...


def count_operations(backbone: EfficientNet, meter: Meter, image_size: Size) -> None:
    """Counts the layers of a forward pass on images of `image_size`, (height, width)."""
    size = meter.conv(backbone.stem_conv, image_size)
    meter.norm(size, backbone.stem_conv.filters)
    meter.activation(size, backbone.stem_conv.filters)
    for block in backbone.blocks:
        size = _count_block(meter, block, size)


def _count_block(meter: Meter, block: MBConv, size: Size) -> Size:
    for conv, norm in ((block.expand_conv, block.expand_norm), (block.spatial_conv, block.spatial_norm)):
        if conv is not None:
            size = meter.conv(conv, size)
            channels = norm.gamma.shape[0]
            meter.norm(size, channels)
            meter.activation(size, channels)
    if block.squeeze_excite is not None:
        meter.elementwise(size, channels, times=2)  # the mean and the product
        meter.conv(block.squeeze_excite.reduce, (1, 1))
        meter.activation((1, 1), block.squeeze_excite.reduced)
        meter.conv(block.squeeze_excite.expand, (1, 1))
    size = meter.conv(block.project_conv, size)
    meter.norm(size, block.spec.filters_out)
    if block.spec.is_residual:
        meter.elementwise(size, block.spec.filters_out)
    return size
