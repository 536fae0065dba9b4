"""U-Net and U-Net++ with an EfficientNet encoder.

Ronneberger et al. 2015; Zhou et al. 2018 (U-Net++); Roy et al. 2018 (scSE);
Hariharan et al. 2015 (hypercolumns). `b` batch, `h w` height and width, `c`
channels, `k` output columns.
"""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import keras
from keras import ops

from efficientdet.backbones.efficientnet import EfficientNet
from efficientdet.imagenet import build_encoder, imagenet_config
from efficientdet.layers import GLOROT_UNIFORM, BatchNormalization, DropPath, nearest_upsampled, recomputed
from efficientdet.types import Tensor

STRIDE = 32
"""Height and width are padded to multiples of this inside the network, and the output is cropped."""
COARSEST = 5
"""Level of the encoder's last feature map; level 0 is the image."""
SCSE_RATIO = 16

UPSAMPLINGS = ("nearest", "bilinear", "transpose")
SKIPS = ("output", "residual")
GRAPHS = ("unet", "unet++")


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Configuration of a U-Net."""

    backbone_name: str = "efficientnet-b0"
    num_classes: int = 2
    """Number of classes, background included. 1 and 2 give one output column, the logit of class 1."""
    upsample: str = "nearest"
    """nearest, bilinear, or transpose: a learned 2x2 transposed convolution to the filters of its level."""
    skip: str = "output"
    """What the decoder gets from the last block of a level: its output, or only the residual branch."""
    concat_input: bool = True
    """Whether the last decoder block takes the image too."""
    scse: bool = False
    """Whether each decoder block ends with spatial and channel squeeze-and-excitation."""
    hypercolumn: bool = False
    """Whether the last convolution takes the outputs of all decoder levels, instead of the finest only."""
    graph: str = "unet"
    """unet, or unet++: nested dense skip connections."""

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "UNetConfig":
        """Returns the config of a description; keys that are no fields of it are ignored."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{key: value for key, value in fields.items() if key in names})

    def __post_init__(self) -> None:
        imagenet_config(self.backbone_name)
        for key, known in (("upsample", UPSAMPLINGS), ("skip", SKIPS), ("graph", GRAPHS)):
            if getattr(self, key) not in known:
                raise ValueError(f"{key} must be one of {', '.join(known)}. Received {key}={getattr(self, key)!r}.")
        if not 1 <= self.num_classes <= 255:
            raise ValueError(
                "num_classes must be from 1 to 255, since masks have one byte per pixel and 255 marks ignored "
                f"pixels. Received num_classes={self.num_classes!r}."
            )

    @property
    def name(self) -> str:
        """Name of the network, such as unet-efficientnet-b0."""
        return f"{self.graph}-{self.backbone_name}"

    @property
    def is_binary(self) -> bool:
        """Whether the output is one column, the logit of class 1."""
        return self.num_classes <= 2

    @property
    def num_columns(self) -> int:
        """Number of output columns."""
        return 1 if self.is_binary else self.num_classes


class Node(NamedTuple):
    """One decoder block. Features are numbered: 0 the image, 1 to 5 the encoder's levels, then the nodes in order."""

    level: int
    coarser: int | None
    """Feature of the next coarser level, which is upsampled; None for the coarsest block."""
    same_level: tuple[int, ...]
    """Features of the node's own level."""


def decoder_graph(graph: str, *, concat_input: bool) -> tuple[Node, ...]:
    """Returns the nodes of the decoder in the order of computation; the last one is the output.

    Args:
      graph: unet or unet++.
      concat_input: whether nodes of level 0 take the image too.
    """
    nodes = [Node(COARSEST, None, (COARSEST,))]
    if graph == "unet":
        for level in range(COARSEST - 1, -1, -1):
            skips = (level,) if level or concat_input else ()
            nodes.append(Node(level, COARSEST + len(nodes), skips))
        return tuple(nodes)
    # Columns of U-Net++; the next column upsamples the newest feature of each level.
    newest = {level: level for level in range(1, COARSEST)} | {COARSEST: COARSEST + 1}
    same = {level: [level] if level or concat_input else [] for level in range(COARSEST)}
    for column in range(1, COARSEST + 1):
        made = {}
        for level in range(COARSEST - column, -1, -1):
            nodes.append(Node(level, newest[level + 1], tuple(same[level])))
            made[level] = COARSEST + len(nodes)
        for level, feature in made.items():
            newest[level] = feature
            same[level].append(feature)
    return tuple(nodes)


def bilinear_doubled(x: Tensor) -> Tensor:
    """Returns the feature map (b, h, w, c) with twice the rows and columns, bilinear between pixel centers."""
    for axis in (1, 2):
        first, last = (x[:, :1], x[:, -1:]) if axis == 1 else (x[:, :, :1], x[:, :, -1:])
        inner, outer = (x[:, :-1], x[:, 1:]) if axis == 1 else (x[:, :, :-1], x[:, :, 1:])
        before = ops.concatenate([first, inner], axis=axis)
        after = ops.concatenate([outer, last], axis=axis)
        pair = ops.stack([0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after], axis=axis + 1)
        shape = ops.shape(x)
        rows, columns = (2 * shape[1], shape[2]) if axis == 1 else (shape[1], 2 * shape[2])
        x = ops.reshape(pair, (-1, rows, columns, x.shape[3]))
    return x


def nearest_doubled(x: Tensor) -> Tensor:
    """Returns the feature map (b, h, w, c) with each pixel repeated in a 2x2 block."""
    if x.shape[1] is not None and x.shape[2] is not None:
        return nearest_upsampled(x, (2 * x.shape[1], 2 * x.shape[2]))
    return ops.repeat(ops.repeat(x, 2, axis=1), 2, axis=2)


class SpatialChannelExcite(keras.layers.Layer):
    """Spatial and channel squeeze-and-excitation: the sum of both scaled maps (Roy et al., 2018).

    Takes and returns `(b, h, w, c)`.
    """

    def build(self, input_shape: Sequence[int | None]) -> None:
        channels = int(input_shape[-1] or 0)
        self.reduce = keras.layers.Dense(
            max(1, channels // SCSE_RATIO), activation="relu", kernel_initializer=GLOROT_UNIFORM, name="reduce"
        )
        self.expand = keras.layers.Dense(
            channels, activation="sigmoid", kernel_initializer=GLOROT_UNIFORM, name="expand"
        )
        self.spatial = keras.layers.Conv2D(
            1, 1, activation="sigmoid", kernel_initializer=GLOROT_UNIFORM, name="spatial"
        )
        self.reduce.build((None, channels))
        self.expand.build((None, max(1, channels // SCSE_RATIO)))
        self.spatial.build(input_shape)

    def call(self, x: Tensor) -> Tensor:
        gate = self.expand(self.reduce(ops.mean(x, axis=(1, 2))))
        return x * (gate[:, None, None, :] + self.spatial(x))


class DecoderBlock(keras.layers.Layer):
    """Two 3x3 convolutions with normalization and ReLU, added to a 1x1 convolution of the input.

    Takes `(b, h, w, c)`; returns `(b, h, w, filters)`.
    """

    def __init__(self, filters: int, *, scse: bool, **options: Any) -> None:
        super().__init__(**options)
        self.filters = filters
        self.scse = SpatialChannelExcite(name="scse") if scse else None

    def build(self, input_shape: Sequence[int | None]) -> None:
        kernels = {"conv_1": 3, "conv_2": 3, "shortcut": 1}
        shape = (None, None, None, input_shape[-1])
        inner = (None, None, None, self.filters)
        self.convs = {
            name: keras.layers.Conv2D(self.filters, size, padding="same", kernel_initializer=GLOROT_UNIFORM, name=name)
            for name, size in kernels.items()
        }
        for name, conv in self.convs.items():
            conv.build(inner if name == "conv_2" else shape)
        self.norms = [BatchNormalization(name=f"norm_{number}") for number in (1, 2)]
        for norm in self.norms:
            norm.build(inner)
        if self.scse is not None:
            self.scse.build(inner)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        x = inputs
        for name, norm in zip(("conv_1", "conv_2"), self.norms, strict=True):
            x = norm(self.convs[name](x), training=training, activation=ops.relu)
        x = x + self.convs["shortcut"](inputs)
        return self.scse(x) if self.scse is not None else x


@keras.saving.register_keras_serializable("efficientdet")
class UNet(keras.Model):
    """A U-Net.

    Takes images `(b, h, w, 3)` of any size, float32 and normalized as in
    `imagenet_config` of the backbone; returns float32 logits `(b, h, w, k)`,
    which `probabilities` turns into probabilities.

    In training, the encoder's stochastic depth depends on `drop_path_seed`, as
    in `model.Detector`; it is None for efficientnet-b0.
    """

    def __init__(self, config: UNetConfig, **options: Any) -> None:
        super().__init__(**options)
        self.config = config
        self.backbone = build_encoder(config.backbone_name)
        self.nodes = decoder_graph(config.graph, concat_input=config.concat_input)
        filters = self.filters
        self.upsamples: list[keras.layers.Layer | None] = []
        self.blocks = []
        for number, node in enumerate(self.nodes):
            is_learned = config.upsample == "transpose" and node.coarser is not None
            self.upsamples.append(_doubling(filters[node.level], f"upsample_{number}") if is_learned else None)
            self.blocks.append(DecoderBlock(filters[node.level], scse=config.scse, name=f"block_{number}"))
        self.predict = keras.layers.Conv2D(config.num_columns, 1, kernel_initializer=GLOROT_UNIFORM, name="predict")
        self.drop_path_seed: keras.random.SeedGenerator | None = None
        if any(isinstance(layer, DropPath) for layer in self._flatten_layers()):
            self.drop_path_seed = keras.random.SeedGenerator(0, name="drop_path_seed")

    @property
    def filters(self) -> dict[int, int]:
        """Filters of the decoder's blocks by level: the encoder's channels; level 0 has those of level 1."""
        channels = self.backbone.channels
        return {0: channels[1], **channels}

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates all weights; `build_unet` has called it already."""
        self.backbone.build((None, None, None, 3))
        channels = {0: 3, **self.backbone.channels}
        for number, (node, block, upsample) in enumerate(zip(self.nodes, self.blocks, self.upsamples, strict=True)):
            width = sum(channels[feature] for feature in node.same_level)
            if node.coarser is not None:
                doubled = channels[node.coarser]
                if upsample is not None:
                    upsample.build((None, None, None, doubled))
                    doubled = self.filters[node.level]
                width += doubled
            block.build((None, None, None, width))
            channels[COARSEST + 1 + number] = block.filters
        self.predict.build((None, None, None, sum(channels[feature] for feature in self._predicted())))

    def _predicted(self) -> list[int]:
        """Returns the inputs of the last convolution: the last node of each level, finest first."""
        last = {node.level: COARSEST + 1 + number for number, node in enumerate(self.nodes)}
        return [last[level] for level in sorted(last)] if self.config.hypercolumn else [last[0]]

    def call(self, images: Tensor, training: bool = False, seed: Tensor | None = None) -> Tensor:
        training = bool(training)
        if training and seed is None:
            seed = self.next_drop_path_seed()
        height, width = (_side(images, axis) for axis in (1, 2))
        padded = pad_to_stride(images)
        features = [padded, *self._encoded(padded, seed, training)]
        for node, block, upsample in zip(self.nodes, self.blocks, self.upsamples, strict=True):
            inputs = [features[feature] for feature in node.same_level]
            if node.coarser is not None:
                inputs.insert(0, self._doubled(features[node.coarser], upsample))
            x = ops.concatenate(inputs, axis=-1) if len(inputs) > 1 else inputs[0]
            features.append(block(x, training=training))
        logits = self._logits([features[feature] for feature in self._predicted()])
        return ops.cast(logits[:, :height, :width], "float32")

    def _encoded(self, images: Tensor, seed: Tensor | None, training: bool) -> list[Tensor]:
        """Returns the encoder's maps of levels 1 to 5."""
        if self.config.skip == "output":
            pyramid = self.backbone(images, seed=seed, training=training)
            return [pyramid[level] for level in range(1, COARSEST + 1)]
        return _residual_maps(self.backbone, images, seed, training)

    def _doubled(self, x: Tensor, upsample: keras.layers.Layer | None) -> Tensor:
        if upsample is not None:
            return upsample(x)
        return bilinear_doubled(x) if self.config.upsample == "bilinear" else nearest_doubled(x)

    def _logits(self, maps: Sequence[Tensor]) -> Tensor:
        if len(maps) == 1:
            return self.predict(maps[0])
        # A 1x1 convolution of concatenated upsampled maps is the sum of upsampled 1x1 convolutions: the same numbers
        # without hundreds of channels at the size of the image.
        ends = list(itertools.accumulate(x.shape[-1] for x in maps))
        kernel = ops.cast(self.predict.kernel, maps[0].dtype)
        logits = None
        for x, end in zip(reversed(maps), reversed(ends), strict=True):
            part = ops.conv(x, kernel[:, :, end - x.shape[-1] : end], padding="same")
            logits = part if logits is None else part + bilinear_doubled(logits)
        return logits + ops.cast(self.predict.bias, maps[0].dtype)

    def next_drop_path_seed(self) -> Tensor | None:
        """Returns the drop-path seed of a training call and advances it; `call` uses it if no seed is given."""
        return self.drop_path_seed.next() if self.drop_path_seed is not None else None

    def set_drop_path(self, seed: int, step: int) -> None:
        """Sets the drop-path seed of the next training call; the seeds of later calls follow from it."""
        if self.drop_path_seed is not None:
            self.drop_path_seed.state.assign([seed, step])

    def get_config(self) -> dict[str, Any]:
        return {"config": asdict(self.config), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "UNet":
        return build_unet(UNetConfig(**config["config"]))


def build_unet(config: UNetConfig) -> UNet:
    """Returns the network of a config, with all weights created and randomly initialized.

    >>> model = build_unet(UNetConfig(num_classes=2))
    >>> model.count_params()
    6292797
    >>> model(zeros((1, 100, 70, 3))).shape
    (1, 100, 70, 1)
    """
    model = UNet(config, name=config.name.replace("-", "_").replace("+", "plus"))
    model.build((None, None, None, 3))
    return model


def probabilities(logits: Tensor) -> Tensor:
    """Returns the sigmoid of one column, or the softmax over several."""
    return ops.sigmoid(logits) if logits.shape[-1] == 1 else ops.softmax(logits, axis=-1)


def class_map(logits: Tensor) -> Tensor:
    """Returns the class of each pixel, int32 (b, h, w); with one column 1 where its probability is at least 0.5."""
    if logits.shape[-1] == 1:
        return ops.cast(logits[..., 0] >= 0, "int32")
    return ops.cast(ops.argmax(logits, axis=-1), "int32")


def pad_to_stride(images: Tensor) -> Tensor:
    """Returns images padded with zeros at the right and bottom to multiples of 32; zero is the mean color."""
    # Remainders of positive numbers alone: those of negative ones differ between runtimes of exported graphs.
    down, across = ((STRIDE - _side(images, axis) % STRIDE) % STRIDE for axis in (1, 2))
    if isinstance(down, int) and isinstance(across, int) and not (down or across):
        return images
    return ops.pad(images, [[0, 0], [0, down], [0, across], [0, 0]])


def _side(images: Tensor, axis: int) -> Any:
    return images.shape[axis] if images.shape[axis] is not None else ops.shape(images)[axis]


def _residual_maps(backbone: EfficientNet, images: Tensor, seed: Tensor | None, training: bool) -> list[Tensor]:
    """Returns the feature maps of levels 1 to 5; skips have only the residual branch of their last block.

    The coarsest decoder block takes the encoder's output, as in a U-Net with skip=output.
    """
    pyramid: dict[int, Tensor] = {}
    branches: dict[int, Tensor] = {}
    last_of_levels = backbone.last_blocks()
    x = backbone.stem(images, training=training)
    for index, block in enumerate(backbone.blocks):
        branch_call = functools.partial(block.residual_branch, seed=seed, training=training)
        branch = recomputed(branch_call, x) if training and index in backbone.recomputed else branch_call(x)
        x = branch + x if block.spec.is_residual else branch
        if index in last_of_levels:
            branches[len(branches) + 1] = branch
            pyramid[len(pyramid) + 1] = x
    return [branches[level] for level in range(1, COARSEST)] + [pyramid[COARSEST]]


def _doubling(filters: int, name: str) -> keras.layers.Layer:
    return keras.layers.Conv2DTranspose(filters, 2, strides=2, kernel_initializer=GLOROT_UNIFORM, name=name)
