"""Parallel paths of a neck computed together: corresponding nodes share a tensor with the paths along its channels.

The nodes of VFPN's eight to fourteen paths differ only in their weights. One
depthwise convolution over the channels of all paths, one batched matrix product
for the pointwise convolutions and one normalization replace those of each path.
In training, normalizations take the biases before them and the weights of edges
after them, and the nodes that join the paths are matrix products.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from efficientdet.activations import ACTIVATIONS
from efficientdet.cpu_kernels import is_at_work
from efficientdet.layers import GLOROT_UNIFORM, BatchNormalization, Resample
from efficientdet.necks.fpn_graphs import Edge, Row, parallel_rows
from efficientdet.necks.neck_config import NeckConfig
from efficientdet.types import Pyramid, Tensor

Shape = Sequence[int | None]

EPSILON = 1e-4
"""Added to the sum of the weights in fast attention, as in `necks.fusion.Fusion`."""


class PathInitializer(keras.initializers.Initializer):
    """Initializes the kernel of each path separately, with the fans of one path.

    Args:
      lanes: number of paths.
      axis: axis along which the kernels are concatenated; None: stacked on a new first axis.
    """

    def __init__(self, lanes: int, axis: int | None) -> None:
        self.lanes = lanes
        self.axis = axis

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        if self.axis is None:
            return ops.stack([GLOROT_UNIFORM(shape[1:], dtype) for _ in range(self.lanes)])
        one = list(shape)
        one[self.axis] //= self.lanes
        return ops.concatenate([GLOROT_UNIFORM(one, dtype) for _ in range(self.lanes)], axis=self.axis)

    def get_config(self) -> dict[str, Any]:
        return {"lanes": self.lanes, "axis": self.axis}


class PathResample(Resample):
    """Resamples a map to the size of another level, and a map shared by all paths to the channels of each path.

    Takes `(b, h, w, c)`; returns `(b, height, width, lanes * filters)` with a
    convolution, else the number of channels of the input.
    """

    def __init__(self, config: NeckConfig, lanes: int, is_shared: bool, **options: Any) -> None:
        super().__init__(
            config.fpn_num_filters,
            normalize=config.apply_bn_for_resampling,
            conv_after_downsample=config.conv_after_downsample,
            **options,
        )
        self.lanes = lanes
        self.is_shared = is_shared

    def build(self, input_shape: Shape) -> None:
        if not self.is_shared or input_shape[-1] == self.filters:
            return
        filters = self.lanes * self.filters
        self.conv = keras.layers.Conv2D(filters, 1, kernel_initializer=PathInitializer(self.lanes, axis=3), name="conv")
        self.conv.build(input_shape)
        if self.normalize:
            self.norm = BatchNormalization(name="norm")
            self.norm.build((*input_shape[:-1], filters))

    def call(self, x: Tensor, size: tuple[int, int], training: bool = False, factor: Tensor | None = None) -> Tensor:
        """Returns the resampled map, times `factor` of each channel."""
        if factor is None or self.conv is None or self.norm is None or tuple(x.shape[1:3]) != tuple(size):
            x = super().call(x, size, training=training)
            return x if factor is None else x * ops.cast(factor, x.dtype)
        x = ops.conv(x, ops.cast(self.conv.kernel, x.dtype))
        return self.norm(x, training=training, bias=self.conv.bias, factor=factor)


class PathConv(keras.layers.Layer):
    """The 3x3 convolutions of all paths: separable, or full if `separable_conv` is false.

    It has the biases, and leaves adding them to the normalization after it.

    Takes and returns `(b, h, w, lanes * filters)`.
    """

    def __init__(self, config: NeckConfig, lanes: int, **options: Any) -> None:
        super().__init__(**options)
        self.config = config
        self.lanes = lanes

    def build(self, input_shape: Shape) -> None:
        lanes, filters = self.lanes, self.config.fpn_num_filters
        if self.config.separable_conv:
            self.depthwise_kernel = self.add_weight(
                name="depthwise_kernel", shape=(3, 3, lanes * filters, 1), initializer=PathInitializer(lanes, axis=2)
            )
            self.pointwise_kernel = self.add_weight(
                name="pointwise_kernel", shape=(lanes, filters, filters), initializer=_PointwiseInitializer(lanes)
            )
        else:
            self.kernel = self.add_weight(
                name="kernel", shape=(lanes, 3, 3, filters, filters), initializer=PathInitializer(lanes, axis=None)
            )
        self.bias: keras.Variable | None = None
        if not self.config.conv_bn_act_pattern:
            self.bias = self.add_weight(name="bias", shape=(lanes * filters,), initializer="zeros")

    def call(self, x: Tensor) -> Tensor:
        lanes = self.lanes
        if self.config.separable_conv:
            x = ops.depthwise_conv(x, ops.cast(self.depthwise_kernel, x.dtype), padding="same")
        if self.config.separable_conv and not is_at_work():
            height, width = x.shape[1:3]
            x = ops.reshape(x, (-1, height * width, lanes, x.shape[3] // lanes))
            x = ops.einsum("bpnc,ncd->bpnd", x, ops.cast(self.pointwise_kernel, x.dtype))
            x = ops.reshape(x, (-1, height, width, lanes * x.shape[3]))
        else:
            # On a CPU the transpositions of a batched matrix product cost more than the product.
            kernel = self.pointwise_kernel[:, None, None] if self.config.separable_conv else self.kernel
            kernels = ops.unstack(ops.cast(kernel, x.dtype), lanes)
            parts = ops.split(x, lanes, axis=-1)
            parts = [ops.conv(part, kernel, padding="same") for part, kernel in zip(parts, kernels, strict=True)]
            x = ops.concatenate(parts, axis=-1)
        return x


class _PointwiseInitializer(PathInitializer):
    """Initializes kernels of 1x1 convolutions without the two spatial axes."""

    def __init__(self, lanes: int, axis: int | None = None) -> None:
        super().__init__(lanes, axis)

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        return ops.squeeze(super().__call__((shape[0], 1, 1, *shape[1:]), dtype), (1, 2))


class PathRow(keras.layers.Layer):
    """A `Row`: one node of each path; `necks.neck.FusionNode` describes the computation.

    Takes the list of all maps computed so far and (height, width) of its level;
    returns `(b, height, width, lanes * filters)`.
    """

    def __init__(self, config: NeckConfig, row: Row, **options: Any) -> None:
        super().__init__(**options)
        self.config = config
        self.row = row
        self.lanes = len(row.nodes)
        self.weight_method = row.weight_method or config.weight_method
        num_levels = len(config.levels)
        self.resamples = [
            PathResample(config, self.lanes, edge.source < num_levels, name=f"resample_{index}")
            for index, edge in enumerate(row.edges)
        ]
        self.conv = PathConv(config, self.lanes, name="conv")
        self.norm = BatchNormalization(name="norm")
        self.edge_weights: keras.Variable | None = None

    def build(self, input_shapes: Sequence[Shape]) -> None:
        for resample, edge in zip(self.resamples, self.row.edges, strict=True):
            resample.build(input_shapes[edge.source])
        filters = self.config.fpn_num_filters
        if self.weight_method != "sum":
            channels = (filters,) if self.weight_method.startswith("channel_") else ()
            self.edge_weights = self.add_weight(
                name="edge_weights",
                shape=(self.row.num_inputs, self.lanes, *channels),
                initializer="ones",
                dtype="float32",
                autocast=False,
            )
        shape = (None, None, None, self.lanes * filters)
        self.conv.build(shape)
        self.norm.build(shape)

    def call(self, maps: list[Tensor], size: tuple[int, int], training: bool = False) -> Tensor:
        shares = self._shares()
        x: Tensor = None
        for resample, edge in zip(self.resamples, self.row.edges, strict=True):
            term = maps[edge.source]
            grows = resample.conv is None and math.prod(term.shape[1:3]) < math.prod(size)
            # Weighting commutes with repeating pixels, and costs less on the smaller map.
            if grows:
                term = resample(self._weighed(term, edge, shares, training), size=size, training=training)
            elif shares is not None and resample.conv is not None:
                term = resample(term, size=size, training=training, factor=self._factors(edge, shares))
            else:
                term = self._weighed(resample(term, size=size, training=training), edge, shares, training)
            x = term if x is None else x + term
        activation = ACTIVATIONS[self.config.act_type]
        if self.config.conv_bn_act_pattern:
            return self.norm(self.conv(x), training=training, activation=activation)
        return self.norm(self.conv(activation(x)), training=training, bias=self.conv.bias)

    def _shares(self) -> Tensor | None:
        """Returns the normalized weights, (inputs, lanes, 1 or channels); None for a plain sum."""
        if self.edge_weights is None:
            return None
        weights = self.edge_weights.value
        if len(weights.shape) == 2:
            weights = weights[..., None]
        if self.weight_method.endswith("fastattn"):
            positive = ops.relu(weights)
            return positive / (ops.sum(positive, axis=0) + EPSILON)
        return ops.softmax(weights, axis=0)

    def _factors(self, edge: Edge, shares: Tensor) -> Tensor:
        """Returns the weights of an edge for each channel of all paths."""
        share = ops.broadcast_to(shares[edge.positions[0]], (self.lanes, self.config.fpn_num_filters))
        return ops.reshape(share, (-1,))

    def _weighed(self, x: Tensor, edge: Edge, shares: Tensor | None, training: bool) -> Tensor:
        """Returns the contribution of one edge to the node of each path."""
        filters = self.config.fpn_num_filters
        if len(edge.positions) > 1:
            return self._joined(x, edge, shares, training)
        if x.shape[-1] == filters and self.lanes > 1:
            x = ops.concatenate([x] * self.lanes, axis=-1)
        return x if shares is None else x * ops.cast(self._factors(edge, shares), x.dtype)

    def _joined(self, x: Tensor, edge: Edge, shares: Tensor | None, training: bool) -> Tensor:
        """Returns the weighted sum of the maps of all paths, `(b, h, w, filters)`."""
        count, filters = len(edge.positions), self.config.fpn_num_filters
        if training and shares is not None and shares.shape[-1] == 1 and is_at_work():
            # A matrix product for each pixel, and its gradient, do not copy the channels of each path.
            row = ops.stack([shares[position, 0, 0] for position in edge.positions])[None, None]
            by_path = ops.reshape(x, (-1, count, filters))
            return ops.reshape(ops.matmul(ops.cast(row, x.dtype), by_path), (-1, *x.shape[1:3], filters))
        maps = ops.split(x, count, axis=-1)
        if shares is not None:
            maps = [
                x * ops.cast(shares[position, 0], x.dtype) for x, position in zip(maps, edge.positions, strict=True)
            ]
        return sum(maps[1:], start=maps[0])


class ParallelCell(keras.layers.Layer):
    """All nodes of a graph with parallel paths. The last node of a level is that level's output.

    Returns the same numbers as `necks.neck.Cell` with the same graph and weights.

    Takes and returns `{level: (b, h, w, c)}`.
    """

    def __init__(self, config: NeckConfig, **options: Any) -> None:
        super().__init__(**options)
        self.config = config
        rows = parallel_rows(config.graph, len(config.levels))
        self.rows = [PathRow(config, row, name=f"row_{index}") for index, row in enumerate(rows)]

    def build(self, input_shapes: dict[int, Shape]) -> None:
        shapes = [input_shapes[level] for level in self.config.levels]
        for row in self.rows:
            row.build(shapes)
            shapes.append((None, None, None, row.lanes * self.config.fpn_num_filters))

    def call(self, pyramid: Pyramid, training: bool = False) -> Pyramid:
        maps = [pyramid[level] for level in self.config.levels]
        outputs: Pyramid = {}
        for row in self.rows:
            level = row.row.level
            outputs[level] = row(list(maps), size=tuple(pyramid[level].shape[1:3]), training=training)
            maps.append(outputs[level])
        return {level: outputs[level] for level in self.config.levels}

    def take_weights_of_nodes(self, nodes: Sequence[Any]) -> None:
        """Copies the weights of a cell with separate paths, for example one loaded from a checkpoint.

        Args:
          nodes: `necks.neck.FusionNode` of the same graph, built.
        """
        for row in self.rows:
            lanes = [nodes[index] for index in row.row.nodes]
            for resample, edge in zip(row.resamples, row.row.edges, strict=True):
                if resample.conv is not None:
                    sources = [node.resamples[edge.positions[0]] for node in lanes]
                    _take(resample.conv.weights, [source.conv.weights for source in sources])
                    if resample.norm is not None:
                        _take(resample.norm.weights, [source.norm.weights for source in sources])
            if row.edge_weights is not None:
                weights = [ops.stack([weight.value for weight in node.fusion.edge_weights]) for node in lanes]
                row.edge_weights.assign(ops.stack(weights, axis=1))
            _take(row.conv.weights, [node.conv.weights for node in lanes])
            _take(row.norm.weights, [node.norm.weights for node in lanes])


def _take(targets: Sequence[keras.Variable], lanes: Sequence[Sequence[keras.Variable]]) -> None:
    """Assigns to each variable the concatenated values of all paths, along the axis that its name implies."""
    for target, *variables in zip(targets, *lanes, strict=True):
        values = [variable.value for variable in variables]
        if target.name == "depthwise_kernel":
            target.assign(ops.concatenate(values, axis=2))
        elif target.name == "pointwise_kernel":
            target.assign(ops.stack([value[0, 0] for value in values]))
        elif target.name == "kernel" and len(target.shape) == 5:
            target.assign(ops.stack(values))
        else:
            target.assign(ops.concatenate(values, axis=-1))
