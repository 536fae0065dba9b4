"""Cost of a network: parameters, operations and memory of each part.

Operations follow automl's rules, so that the figures are comparable with its
tables: multiply-adds, that is half of the float operations of TensorFlow's
profiler. A convolution counts 2 per product and 1 per added bias; an
element-wise product, quotient or sum counts 1 per element; pooling counts its
window, a mean its input; normalization, reshaping and ReLU count nothing.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras

from efficientdet.backbones import backbone_module
from efficientdet.heads.mask_head import MaskHead
from efficientdet.heads.prediction_head import PredictionTower
from efficientdet.layers import Resample
from efficientdet.model import Detector
from efficientdet.necks.neck import Cell, FusionNode, Neck
from efficientdet.necks.parallel_cell import ParallelCell, PathRow

Size = tuple[int, int]

ACTIVATION_OPERATIONS = dict.fromkeys(("relu", "relu6"), 0) | dict.fromkeys(
    ("swish", "silu", "swish_native", "mish"), 1
)
ACTIVATION_OPERATIONS |= {"hswish": 3, "srelu": 5}
"""Counted operations per element; TensorFlow's profiler counts nothing for a sigmoid, a tanh and a logarithm."""


@dataclass(frozen=True, kw_only=True)
class PartCost:
    """Cost of one part of the network, for one image."""

    name: str
    trainable: int
    """Number of trainable parameters."""
    weights: int
    """Number of all parameters, moving statistics included."""
    flops: int
    """Multiply-adds by automl's rules."""
    kept: int
    """Elements stored for the gradient in a training step: outputs of convolutions, normalizations and activations."""


@dataclass(frozen=True, kw_only=True)
class ModelCost:
    """Cost of a network by part, and in total."""

    image_size: Size
    parts: tuple[PartCost, ...]
    outputs: dict[str, tuple[int, ...]]
    """Name of each output, for example class/3, and its shape without the batch axis."""

    @property
    def trainable(self) -> int:
        """Number of trainable parameters."""
        return sum(part.trainable for part in self.parts)

    @property
    def weights(self) -> int:
        """Number of all parameters, moving statistics included."""
        return sum(part.weights for part in self.parts)

    @property
    def flops(self) -> int:
        """Multiply-adds for one image, by automl's rules."""
        return sum(part.flops for part in self.parts)

    @property
    def weight_bytes(self) -> int:
        """Size of a float32 checkpoint without optimizer slots."""
        return 4 * self.weights

    @property
    def training_bytes(self) -> int:
        """Approximate memory of a training step for one image in float32, weights excluded."""
        return 4 * sum(part.kept for part in self.parts)

    def table(self) -> str:
        """Returns parts, totals and output shapes as text for a terminal."""
        rows = [f"{'part':<12}{'trainable':>14}{'all weights':>14}{'multiply-adds':>20}{'kept, MB/image':>16}"]
        everything: tuple[Any, ...] = (*self.parts, self)
        for part in everything:
            name = part.name if isinstance(part, PartCost) else "all"
            kept = 4 * part.kept if isinstance(part, PartCost) else part.training_bytes
            rows.append(f"{name:<12}{part.trainable:>14,}{part.weights:>14,}{part.flops:>20,}{kept / 1e6:>16,.1f}")
        height, width = self.image_size
        rows += ["", f"input         {height} x {width} x 3; weights {self.weight_bytes / 1e6:,.1f} MB in float32"]
        rows += [f"{name:<14}{' x '.join(map(str, shape))}" for name, shape in self.outputs.items()]
        return "\n".join(rows)


def model_cost(model: Detector) -> ModelCost:
    """Returns the cost of the network for one image of the config's size."""
    config = model.config
    sizes = {level: tuple(math.ceil(side / 2**level) for side in config.image_size) for level in range(13)}
    meters: dict[str, tuple[Meter, Iterable[keras.layers.Layer]]] = {
        "backbone": (_backbone(model), [model.backbone]),
        "resample": (_extra_levels(model.neck, sizes), model.neck.extra_levels.values()),
        "fpn": (_cells(model.neck, sizes), model.neck.cells),
    }
    heads = {"class_net": model.class_head, "box_net": model.box_head}
    for name, head in heads.items():
        if head is not None:
            meters[name] = (_tower(head, sizes), [head])
    if model.mask_head is not None:
        meters["mask_head"] = (_mask_head(model.mask_head, sizes), [model.mask_head])
    parts = tuple(
        PartCost(
            name=name,
            trainable=sum(math.prod(weight.shape) for layer in layers for weight in layer.trainable_weights),
            weights=sum(math.prod(weight.shape) for layer in layers for weight in layer.weights),
            flops=meter.float_operations // 2,
            kept=meter.kept,
        )
        for name, (meter, layers) in meters.items()
    )
    return ModelCost(image_size=config.image_size, parts=parts, outputs=_outputs(model, sizes))


def _outputs(model: Detector, sizes: dict[int, Size]) -> dict[str, tuple[int, ...]]:
    config = model.config
    outputs: dict[str, tuple[int, ...]] = {}
    if model.class_head is not None:
        for name, columns in (("class", config.num_classes), ("box", 4)):
            outputs |= {f"{name}/{level}": (*sizes[level], config.num_anchors * columns) for level in config.levels}
    if model.mask_head is not None:
        height, width = sizes[config.min_level]
        outputs["segmentation"] = (2 * height, 2 * width, config.seg_num_classes)
    return outputs


class Meter:
    """Counts the float operations of layers, and the elements they store for the gradient."""

    def __init__(self, act_type: str) -> None:
        self.act_type = act_type
        self.float_operations = 0
        self.kept = 0

    def conv(self, layer: keras.layers.Layer, size: Size) -> Size:
        """Counts a convolution on a feature map of this size; returns the size of its output."""
        strides = getattr(layer, "strides", (1, 1))
        if isinstance(layer, keras.layers.Conv2DTranspose):
            places, size = math.prod(size), (size[0] * strides[0], size[1] * strides[1])
        else:
            size = tuple(math.ceil(side / stride) for side, stride in zip(size, strides, strict=True))
            places = math.prod(size)
        for weight in layer.weights:
            if weight.name == "bias":
                self.float_operations += math.prod(size) * weight.shape[0]
            else:
                self.float_operations += 2 * places * math.prod(weight.shape)
        return size

    def norm(self, size: Size, channels: int) -> None:
        """Counts a normalization: no operations, but it stores its input."""
        self.kept += math.prod(size) * channels

    def activation(self, size: Size, channels: int) -> None:
        """Counts an activation, which stores its output, and its gate if it has one."""
        self.float_operations += ACTIVATION_OPERATIONS[self.act_type] * math.prod(size) * channels
        self.kept += (1 if self.act_type.startswith("relu") else 2) * math.prod(size) * channels

    def elementwise(self, size: Size, channels: int, times: int = 1) -> None:
        """Counts products, quotients or sums of whole feature maps, each of which stores its result."""
        self.float_operations += times * math.prod(size) * channels
        self.kept += math.prod(size) * channels


def _backbone(model: Detector) -> Meter:
    meter = Meter(model.config.act_type)
    backbone_module(model.config.backbone_name).count_operations(model.backbone, meter, model.config.image_size)
    return meter


def _resample(meter: Meter, resample: Resample, size: Size, target: Size, *, channels: int) -> None:
    shrinks = size[0] > target[0] or size[1] > target[1]
    if resample.conv is not None:
        at = target if shrinks and resample.conv_after_downsample else size
        meter.conv(resample.conv, at)
        meter.norm(at, channels)
    if shrinks:
        windows = [(have - 1) // want + 2 for have, want in zip(size, target, strict=True)]
        meter.elementwise(target, channels, times=math.prod(windows))
    elif size != target:
        meter.elementwise(target, channels)


def _extra_levels(neck: Neck, sizes: dict[int, Size]) -> Meter:
    meter = Meter(neck.config.act_type)
    for level, resample in neck.extra_levels.items():
        _resample(meter, resample, sizes[int(level) - 1], sizes[int(level)], channels=resample.filters)
    return meter


def _cells(neck: Neck, sizes: dict[int, Size]) -> Meter:
    meter = Meter(neck.config.act_type)
    for cell in neck.cells:
        for node in cell_nodes(cell):
            _node(meter, node, sizes)
    return meter


class CellNode(NamedTuple):
    """A node of a cell, or the nodes of all parallel paths, with its layers."""

    layer: FusionNode | PathRow
    level: int
    lanes: int
    """Parallel paths that the layer computes at once."""
    edges: tuple[tuple[Resample, int], ...]
    """Resampling layer and source level of each input."""
    num_inputs: int
    weight_method: str


def cell_nodes(cell: Cell | ParallelCell) -> Iterator[CellNode]:
    """Yields the nodes of a cell in order."""
    levels = list(cell.config.levels)
    if isinstance(cell, Cell):
        for node in cell.nodes:
            sources = [levels[number] for number in node.node.inputs]
            edges = tuple(zip(node.resamples, sources, strict=True))
            yield CellNode(node, node.node.level, 1, edges, len(edges), node.fusion.weight_method)
            levels.append(node.node.level)
        return
    for row in cell.rows:
        sources = [levels[edge.source] for edge in row.row.edges]
        # A joining node takes one map of its own level per path, so nothing is resampled.
        edges = tuple(zip(row.resamples, sources, strict=True))
        yield CellNode(row, row.row.level, row.lanes, edges, row.row.num_inputs, row.weight_method)
        levels.append(row.row.level)


def _node(meter: Meter, node: CellNode, sizes: dict[int, Size]) -> None:
    filters, size = node.layer.config.fpn_num_filters * node.lanes, sizes[node.level]
    for resample, source in node.edges:
        _resample(meter, resample, sizes[source], size, channels=filters)
    # automl multiplies each map by its weight; fastattn then divides it by the sum of the weights.
    per_input = {"sum": 0, "fastattn": 2, "channel_fastattn": 2}.get(node.weight_method, 1)
    meter.elementwise(size, filters, times=node.num_inputs * per_input + node.num_inputs - 1)
    meter.activation(size, filters)
    meter.conv(node.layer.conv, size)
    meter.norm(size, filters)


def node_operations(act_type: str, node: CellNode, sizes: dict[int, Size]) -> int:
    """Returns the float operations of one node, twice its multiply-adds."""
    meter = Meter(act_type)
    _node(meter, node, sizes)
    return meter.float_operations


def tower_operations(tower: PredictionTower, sizes: dict[int, Size]) -> dict[int, int]:
    """Returns the float operations of a head on each level, twice its multiply-adds."""
    operations = {}
    for level in tower.config.levels:
        meter = Meter(tower.config.act_type)
        _tower_level(meter, tower, level, sizes[level])
        operations[level] = meter.float_operations
    return operations


def _tower(tower: PredictionTower, sizes: dict[int, Size]) -> Meter:
    meter = Meter(tower.config.act_type)
    for level in tower.config.levels:
        _tower_level(meter, tower, level, sizes[level])
    return meter


def _tower_level(meter: Meter, tower: PredictionTower, level: int, size: Size) -> None:
    filters = tower.config.fpn_num_filters
    for repeat, conv in enumerate(tower.convs):
        meter.conv(conv, size)
        meter.norm(size, filters)
        meter.activation(size, filters)
        if (repeat, level) in tower.drop_paths:
            meter.elementwise(size, filters)
    meter.conv(tower.predict, size)


def _mask_head(head: MaskHead, sizes: dict[int, Size]) -> Meter:
    meter = Meter(head.config.act_type)
    size = sizes[head.config.max_level]
    for upsample in head.upsamples:
        size = meter.conv(upsample, size)
        meter.norm(size, head.config.fpn_num_filters)
        meter.activation(size, head.config.fpn_num_filters)
    meter.conv(head.predict, size)
    return meter
