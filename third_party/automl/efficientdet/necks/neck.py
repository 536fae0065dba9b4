"""Neck of EfficientDet: extra levels above the backbone's, then cells of a graph in series."""

from collections.abc import Sequence
from typing import Any

import keras

from efficientdet.activations import ACTIVATIONS
from efficientdet.layers import BatchNormalization, Resample, conv3x3, recomputed
from efficientdet.necks.fpn_graphs import Node
from efficientdet.necks.fusion import Fusion
from efficientdet.necks.neck_config import NeckConfig
from efficientdet.necks.parallel_cell import ParallelCell
from efficientdet.types import Pyramid, Tensor

Shape = Sequence[int | None]


def _resample(config: NeckConfig, name: str) -> Resample:
    return Resample(
        config.fpn_num_filters,
        normalize=config.apply_bn_for_resampling,
        conv_after_downsample=config.conv_after_downsample,
        name=name,
    )


class FusionNode(keras.layers.Layer):
    """One node of a graph: resamples its inputs to its level, fuses them and applies a convolution.

    As in automl the activation comes *before* the convolution and not after the
    normalization, unless `conv_bn_act_pattern`, with which the convolution has
    no bias.

    Takes the list of all maps computed so far and (height, width) of its level;
    returns one map `(b, height, width, filters)`.
    """

    def __init__(self, config: NeckConfig, node: Node, **options: Any) -> None:
        super().__init__(**options)
        self.config = config
        self.node = node
        self.resamples = [_resample(config, f"resample_{edge}") for edge in range(len(node.inputs))]
        self.fusion = Fusion(node.weight_method or config.weight_method, name="fusion")
        self.conv = conv3x3(
            config.fpn_num_filters,
            separable=config.separable_conv,
            use_bias=not config.conv_bn_act_pattern,
            name="conv",
        )
        self.norm = BatchNormalization(name="norm")

    def build(self, input_shapes: Sequence[Shape]) -> None:
        for resample, number in zip(self.resamples, self.node.inputs, strict=True):
            resample.build(input_shapes[number])
        shape = (None, None, None, self.config.fpn_num_filters)
        self.fusion.build([shape] * len(self.resamples))
        self.conv.build(shape)
        self.norm.build(shape)

    def call(self, maps: list[Tensor], size: tuple[int, int], training: bool = False) -> Tensor:
        edges = zip(self.resamples, self.node.inputs, strict=True)
        x = self.fusion([resample(maps[number], size=size, training=training) for resample, number in edges])
        activation = ACTIVATIONS[self.config.act_type]
        if self.config.conv_bn_act_pattern:
            return self.norm(self.conv(x), training=training, activation=activation)
        return self.norm(self.conv(activation(x)), training=training)


class Cell(keras.layers.Layer):
    """All nodes of a graph. The last node of a level is that level's output.

    Takes and returns `{level: (b, h, w, c)}`.
    """

    def __init__(self, config: NeckConfig, **options: Any) -> None:
        super().__init__(**options)
        self.config = config
        self.nodes = [FusionNode(config, node, name=f"node_{index}") for index, node in enumerate(config.graph)]

    def build(self, input_shapes: dict[int, Shape]) -> None:
        shapes = [input_shapes[level] for level in self.config.levels]
        for node in self.nodes:
            node.build(shapes)
            shapes.append((None, None, None, self.config.fpn_num_filters))

    def call(self, pyramid: Pyramid, training: bool = False) -> Pyramid:
        maps = [pyramid[level] for level in self.config.levels]
        outputs: Pyramid = {}
        for node in self.nodes:
            level = node.node.level
            outputs[level] = node(list(maps), size=tuple(pyramid[level].shape[1:3]), training=training)
            maps.append(outputs[level])
        return {level: outputs[level] for level in self.config.levels}


class Neck(keras.layers.Layer):
    """Levels that the backbone lacks, then the cells.

    Cells whose indices are in `recomputed` are recomputed for their gradient.

    Takes the backbone's `{level: (b, h, w, c)}`; returns the config's levels,
    each with `fpn_num_filters` channels.
    """

    def __init__(self, config: NeckConfig, **options: Any) -> None:
        super().__init__(**options)
        self.config = config
        self.recomputed: frozenset[int] = frozenset()
        self.extra_levels: dict[str, Resample] = {}
        cell_class = ParallelCell if any(node.path is not None for node in config.graph) else Cell
        self.cells = [cell_class(config, name=f"cell_{index}") for index in range(config.num_fpn_cells)]

    def build(self, input_shapes: dict[int, Shape]) -> None:
        channels = {level: shape[-1] for level, shape in input_shapes.items()}
        missing = [level for level in self.config.levels if level not in channels]
        for level in missing:
            self.extra_levels[str(level)] = resample = _resample(self.config, f"level_{level}")
            resample.build((None, None, None, channels[level - 1]))
            channels[level] = self.config.fpn_num_filters
        for cell in self.cells:
            cell.build({level: (None, None, None, channels[level]) for level in self.config.levels})
            channels = dict.fromkeys(self.config.levels, self.config.fpn_num_filters)

    def call(self, features: Pyramid, training: bool = False) -> Pyramid:
        pyramid = dict(features)
        for level, resample in self.extra_levels.items():
            finer = pyramid[int(level) - 1]
            size = tuple((side + 1) // 2 for side in finer.shape[1:3])
            pyramid[int(level)] = resample(finer, size=size, training=training)
        pyramid = {level: pyramid[level] for level in self.config.levels}
        for index, cell in enumerate(self.cells):
            if training and index in self.recomputed:
                pyramid = _computed_again(cell, pyramid)
            else:
                pyramid = cell(pyramid, training=training)
        return pyramid


def _computed_again(cell: Cell | ParallelCell, pyramid: Pyramid) -> Pyramid:
    levels = list(pyramid)
    return recomputed(lambda *maps: cell(dict(zip(levels, maps, strict=True)), training=True), *pyramid.values())
