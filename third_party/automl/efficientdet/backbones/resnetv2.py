"""ResNetV2 backbones as published by BiT: pre-activation bottlenecks, group norm, weight-standardized convolutions.

Kolesnikov et al. 2020, "Big Transfer (BiT)"; He et al. 2016, "Identity Mappings
in Deep Residual Networks".
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
from keras import ops

from efficientdet.automl.hparams import unknown_name
from efficientdet.backbones.weight_standardized import LAYER_ACTIVATIONS, NORMS, WeightStandardizedConv2D
from efficientdet.layers import DropPath
from efficientdet.types import Pyramid, Tensor

BOTTLENECK_RATIO = 0.25


@dataclass(frozen=True, kw_only=True)
class ResNetV2Part:
    """Configuration of a ResNetV2; field names are those of timm and of tfdet."""

    in_channels: int = 3
    input_size: tuple[int, int] = (224, 224)
    """(height, width) of images."""
    nb_blocks: tuple[int, int, int, int] = (2, 2, 2, 2)
    nb_channels: tuple[int, int, int, int] = (256, 512, 1024, 2048)
    width_factor: int = 1
    preact: bool = True
    stem_width: int = 64
    stem_type: str = "fixed"
    """fixed: zero padding before the stem's pooling, as in BiT; same: TensorFlow's SAME."""
    conv_padding: str = "symmetric"
    """symmetric, as in PyTorch, or same."""
    act_layer: str = "relu"
    norm_layer: str = "group_norm"
    drop_path_rate: float = 0.0
    """Probability that the last block is skipped in training; linear from 0 at the first block."""
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Mean of the images that the weights expect, 0 to 1."""
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    weights: str = ""
    """A local file of timm's weights (.npz, .safetensors, .pth), or empty."""
    url: str = ""
    """Not supported; weights are read from a local file, see `weights`."""
    pool_size: int | None = None
    """Of the classifier: no effect in a detector, as the following fields."""
    crop_pct: float | None = None
    interpolation: str | None = None
    global_pool: str | None = None
    drop_rate: float | None = None
    first_conv: str | None = None
    classifier: str | None = None

    def __post_init__(self) -> None:
        if self.url:
            raise ValueError(f"url={self.url!r} is not supported; download the weights and give the file as `weights`.")
        for key, known in (("stem_type", ("fixed", "same")), ("conv_padding", ("symmetric", "same"))):
            if getattr(self, key) not in known:
                raise ValueError(unknown_name(key, getattr(self, key), known))
        if self.norm_layer not in NORMS:
            raise ValueError(unknown_name("norm_layer", self.norm_layer, NORMS))
        if self.act_layer not in LAYER_ACTIVATIONS:
            raise ValueError(unknown_name("act_layer", self.act_layer, LAYER_ACTIVATIONS))
        if min(*self.nb_blocks, *self.nb_channels, self.width_factor, self.stem_width) < 1:
            raise ValueError(
                "nb_blocks, nb_channels, width_factor and stem_width must be 1 or more. "
                f"Received {self.nb_blocks}, {self.nb_channels}, {self.width_factor} and {self.stem_width}."
            )
        if not 0 <= self.drop_path_rate < 1:
            raise ValueError(f"drop_path_rate must be from 0 to below 1. Received {self.drop_path_rate}.")

    @property
    def levels(self) -> range:
        """Levels of the maps that the network gives."""
        return range(2, 2 + len(self.nb_blocks))

    @property
    def without_effect(self) -> list[str]:
        """Returns the given keys that have no effect in a detector."""
        keys = ("pool_size", "crop_pct", "interpolation", "global_pool", "drop_rate", "first_conv", "classifier")
        return [key for key in keys if getattr(self, key) is not None]

    @property
    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Returns mean and standard deviation of the pixels, 0 to 255, that the backbone expects."""
        return tuple(255 * value for value in self.mean), tuple(255 * value for value in self.std)

    def build(self) -> "ResNetV2":
        """Returns the network; its weights are read from `weights` when it is built."""
        return ResNetV2(self, name="backbone")


def _variants() -> dict[str, ResNetV2Part]:
    bit = ResNetV2Part(stem_type="fixed")
    sizes = {"50x1": (3, 4, 6, 3), "50x3": (3, 4, 6, 3), "101x1": (3, 4, 23, 3), "101x3": (3, 4, 23, 3)}
    sizes |= {"152x2": (3, 8, 36, 3), "152x4": (3, 8, 36, 3)}
    named = {}
    for size, blocks in sizes.items():
        part = replace(bit, nb_blocks=blocks, width_factor=int(size[-1]))
        side = 480 if size == "152x4" else 448
        named[f"resnetv2_{size}_bitm"] = replace(part, input_size=(side, side))
        named[f"resnetv2_{size}_bitm_in21k"] = replace(part, input_size=(224, 224))
    named["resnetv2_50x1_bit_distilled"] = replace(named["resnetv2_50x1_bitm"], input_size=(224, 224))
    for suffix, side in (("", 224), ("_384", 384)):
        name = f"resnetv2_152x2_bit_teacher{suffix}"
        named[name] = replace(named["resnetv2_152x2_bitm"], input_size=(side, side))
    return named


VARIANTS = _variants()
"""Name → configuration: the 15 networks for which BiT published weights."""


def make_divisible(channels: float, divisor: int = 8) -> int:
    """Returns the nearest multiple of `divisor` that is at least 90 % of `channels`."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


class Bottleneck(keras.layers.Layer):
    """Bottleneck block: three convolutions and a shortcut; pre-activation, or post-activation without `preact`.

    Takes `(b, h, w, c)`; returns `(b, ceil(h / strides), ceil(w / strides), filters)`.
    """

    def __init__(self, part: ResNetV2Part, filters: int, *, strides: int, is_first: bool, index: int, name: str):
        super().__init__(name=name)
        self.part = part
        self.filters = filters
        inside = make_divisible(filters * BOTTLENECK_RATIO)

        def conv(filters: int, kernel: int, name: str, strides: int = 1) -> WeightStandardizedConv2D:
            return WeightStandardizedConv2D(filters, kernel, strides=strides, padding=part.conv_padding, name=name)

        self.convs = [conv(inside, 1, "conv1"), conv(inside, 3, "conv2", strides), conv(filters, 1, "conv3")]
        self.norms = [NORMS[part.norm_layer](f"norm{number}") for number in (1, 2, 3)]
        self.shortcut = conv(filters, 1, "downsample_conv", strides) if is_first else None
        self.shortcut_norm: keras.layers.Layer | None = None
        if is_first and not part.preact:
            self.shortcut_norm = NORMS[part.norm_layer]("downsample_norm")
        self.drop_path: DropPath | None = None
        num_blocks = sum(part.nb_blocks)
        if part.drop_path_rate and index:
            self.drop_path = DropPath(1 - part.drop_path_rate * index / (num_blocks - 1), index, name="drop_path")

    def build(self, input_shape: Sequence[int | None]) -> None:
        shape = tuple(input_shape)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            if self.part.preact:
                norm.build(shape)
            conv.build(shape)
            shape = (*shape[:-1], conv.filters)
            if not self.part.preact:
                norm.build(shape)
        if self.shortcut is not None:
            self.shortcut.build(input_shape)
        if self.shortcut_norm is not None:
            self.shortcut_norm.build(shape)

    def call(self, x: Tensor, seed: Tensor | None = None, training: bool = False) -> Tensor:
        return (self._preactivated if self.part.preact else self._postactivated)(x, seed, training)

    def _preactivated(self, x: Tensor, seed: Tensor | None, training: bool) -> Tensor:
        activation = LAYER_ACTIVATIONS[self.part.act_layer]
        shortcut, y = x, x
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = activation(norm(y, training=training))
            if number == 0 and self.shortcut is not None:
                shortcut = self.shortcut(y)
            y = conv(y)
        return shortcut + self._dropped(y, seed, training)

    def _postactivated(self, x: Tensor, seed: Tensor | None, training: bool) -> Tensor:
        activation = LAYER_ACTIVATIONS[self.part.act_layer]
        y = x
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(conv(y), training=training)
            y = activation(y) if number < 2 else y
        shortcut = x
        if self.shortcut is not None and self.shortcut_norm is not None:
            shortcut = self.shortcut_norm(self.shortcut(x), training=training)
        return activation(shortcut + self._dropped(y, seed, training))

    def _dropped(self, x: Tensor, seed: Tensor | None, training: bool) -> Tensor:
        return x if self.drop_path is None else self.drop_path(x, seed=seed, training=training)


class ResNetV2(keras.layers.Layer):
    """A stem and four stages; the output is the last map of each stage, the last one normalized and activated.

    Takes `(b, h, w, 3)`; returns `{level: (b, h, w, c)}` of levels 2 to 5.
    """

    def __init__(self, part: ResNetV2Part, **options: Any) -> None:
        super().__init__(**options)
        self.part = part
        width = make_divisible(part.stem_width * part.width_factor)
        self.stem_conv = WeightStandardizedConv2D(width, 7, strides=2, padding=part.conv_padding, name="stem_conv")
        self.stem_norm = None if part.preact else NORMS[part.norm_layer]("stem_norm")
        self.blocks: list[Bottleneck] = []
        for stage, (blocks, channels) in enumerate(zip(part.nb_blocks, part.nb_channels, strict=True)):
            filters = make_divisible(channels * part.width_factor)
            for block in range(blocks):
                strides = 2 if stage and not block else 1
                name, index = f"stage_{stage}_block_{block}", len(self.blocks)
                self.blocks.append(
                    Bottleneck(part, filters, strides=strides, is_first=not block, index=index, name=name)
                )
        self.norm = NORMS[part.norm_layer]("norm") if part.preact else None

    @property
    def stages(self) -> list[list[Bottleneck]]:
        """The blocks by stage."""
        rest = iter(self.blocks)
        return [[next(rest) for _ in range(count)] for count in self.part.nb_blocks]

    @property
    def channels(self) -> dict[int, int]:
        """Channels of the map of each level."""
        return {level: stage[-1].filters for level, stage in enumerate(self.stages, start=2)}

    def build(self, input_shape: Sequence[int | None]) -> None:
        self.stem_conv.build(input_shape)
        shape = (*input_shape[:-1], self.stem_conv.filters)
        if self.stem_norm is not None:
            self.stem_norm.build(shape)
        for stage in self.stages:
            for block in stage:
                block.build(shape)
                shape = (*shape[:-1], block.filters)
        if self.norm is not None:
            self.norm.build(shape)
        if self.part.weights:
            from efficientdet.backbones.timm_weights import load_timm_resnetv2

            load_timm_resnetv2(self, self.part.weights)

    def call(self, images: Tensor, seed: Tensor | None = None, training: bool = False) -> Pyramid:
        activation = LAYER_ACTIVATIONS[self.part.act_layer]
        x = self.stem_conv(images)
        if self.stem_norm is not None:
            x = activation(self.stem_norm(x, training=training))
        if self.part.stem_type == "fixed":
            x = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
            x = ops.max_pool(x, 3, 2, padding="valid")
        else:
            x = ops.max_pool(x, 3, 2, padding="same")
        pyramid: Pyramid = {}
        for level, stage in enumerate(self.stages, start=2):
            for block in stage:
                x = block(x, seed=seed, training=training)
            pyramid[level] = x
        if self.norm is not None:
            pyramid[max(pyramid)] = activation(self.norm(x, training=training))
        return pyramid
