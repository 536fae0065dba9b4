"""Inference graph of a network, without the operations that only training needs.

Batch normalization is folded into the preceding convolution, swish has no
custom gradient, and values that depend on weights alone (for example the
normalized fusion weights of the neck) become constants. Convolutions that a
head shares between levels become one per level, since each level has its own
normalization.

It transforms the frozen graph, not the layers, so it applies to every network
of these operations; what cannot be folded is left unchanged.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from efficientdet.types import Tensor

if TYPE_CHECKING:
    import keras

    from efficientdet.any_detector import AnyDetectorConfig

INPUT = "images"
"""Name of the graph's placeholder: normalized canvases (b, H, W, 3), float32."""

_NORMALIZATIONS = ("FusedBatchNormV3", "FusedBatchNormV2", "FusedBatchNorm")
_OUTPUT_AXIS = {"Conv2D": 3, "Conv2DBackpropInput": 2}
"""Axis of the kernel with the output channels; a depthwise kernel has two of them."""


class InferenceGraph(NamedTuple):
    """A network as a graph without variables."""

    graph_def: tf.compat.v1.GraphDef
    outputs: tuple[str, ...]
    """Names of the output nodes, in the order of `output_keys`."""
    output_keys: tuple[tuple[str, int | None], ...]
    """(head, level) of each output: "class" and "box" of each level, or ("segmentation", None)."""


class InferenceNetwork(tf.Module):
    """Inference graph as a callable, for use in place of the model.

    Takes normalized canvases `(b, H, W, 3)` and returns the outputs of the
    model: `{"class": {level: logits}, "box": {level: deltas}}`, and
    "segmentation" if the network has that head. Weights are constants, copied
    when it is created.
    """

    def __init__(self, graph: InferenceGraph) -> None:
        super().__init__(name="inference_network")
        self._keys = graph.output_keys
        placeholder = next(node for node in graph.graph_def.node if node.name == INPUT)
        spec = tf.TensorSpec(
            tf.TensorShape(placeholder.attr["shape"].shape), placeholder.attr["dtype"].type, name=INPUT
        )

        @tf.function(input_signature=[spec], autograph=False)
        def run(images: Tensor) -> list[Tensor]:
            names = [f"{name}:0" for name in graph.outputs]
            return list(tf.graph_util.import_graph_def(graph.graph_def, {f"{INPUT}:0": images}, names, name=""))

        self._run = run.get_concrete_function()

    def __call__(self, images: Tensor) -> dict[str, Any]:
        """Returns the outputs of the network for normalized canvases."""
        return _by_head(self._keys, self._run(images))


def inference_network(model: "keras.Model", config: "AnyDetectorConfig") -> InferenceNetwork:
    """Returns the inference graph of a network as a callable.

    Args:
      model: from `build_model(config)`, with its weights.
      config: of the model; its canvas is used.

    >>> network = inference_network(model, config)
    >>> network(zeros((1, 512, 512, 3)))["class"][3].shape
    (1, 64, 64, 27)
    """
    return InferenceNetwork(inference_graph(model, config))


def inference_graph(
    model: "keras.Model", config: "AnyDetectorConfig", *, batch_size: int | None = None
) -> InferenceGraph:
    """Returns the inference graph of a network.

    Its outputs differ from the model's by rounding only: less than 1e-4 of the
    largest value of a level in trained networks. Random weights amplify rounding;
    with them both are as far from the same network in float64 as from each other.

    Args:
      model: from `build_model(config)`, with its weights.
      config: of the model; its canvas is used.
      batch_size: number of images, if it is fixed.
    """
    keys: list[tuple[str, int | None]] = []
    spec = tf.TensorSpec((batch_size, *config.image_size, 3), tf.float32, name=INPUT)

    @tf.function(input_signature=[spec], autograph=False)
    def network(images: Tensor) -> list[Tensor]:
        outputs = model(images, training=False)
        keys[:] = output_keys(outputs)
        return [outputs[head] if level is None else outputs[head][level] for head, level in keys]

    function = network.get_concrete_function()
    graph_def = _frozen(function)
    if graph_def is None:
        function = convert_variables_to_constants_v2(function)
        graph_def = function.graph.as_graph_def()
    names = tuple(_OUTPUT_NAME.format(head=head, level=level or 0) for head, level in keys)
    _rename_ends(graph_def, function.inputs[0].name, dict(zip(names, function.outputs, strict=True)))
    graph_def = folded(graph_def, names)
    return InferenceGraph(graph_def, names, tuple(keys))


_OUTPUT_NAME = "{head}_{level}"


def _frozen(function: Any) -> tf.compat.v1.GraphDef | None:
    """Returns the graph of a concrete function with its variables as constants; None if it is not a plain graph.

    For graphs without functions, in which variables are only read, it gives what
    `convert_variables_to_constants_v2` does, which takes several times longer.
    """
    graph_def = function.graph.as_graph_def()
    captured = {inner.op.name: outer for outer, inner in function.graph.captures}
    if graph_def.library.function:
        return None
    constants: dict[str, str] = {}
    for node in graph_def.node:
        read = [name for name in map(_node_of, node.input) if name in captured and captured[name].dtype == tf.resource]
        if node.op == "ReadVariableOp" and read:
            dtype = node.attr["dtype"].type
            first = constants.setdefault(read[0], node.name)
            if first != node.name:  # Such as a kernel that a head uses at every level: one constant for all.
                node.op = "Identity"
                node.input[:] = [first]
                node.attr.clear()
                node.attr["T"].type = dtype
                continue
            value = tf.raw_ops.ReadVariableOp(resource=captured[read[0]], dtype=dtype)
        elif node.name in captured and captured[node.name].dtype != tf.resource:
            value = captured[node.name]
        elif read:
            return None
        else:
            continue
        node.op = "Const"
        del node.input[:]
        node.attr.clear()
        node.attr["dtype"].type = value.dtype.as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value.numpy()))
    return graph_def


def output_keys(outputs: Mapping[str, Any]) -> tuple[tuple[str, int | None], ...]:
    """Returns (head, level) of each output of a network, in the order of all graphs made from it."""
    keys: list[tuple[str, int | None]] = []
    for head, output in outputs.items():
        keys += [(head, level) for level in sorted(output)] if isinstance(output, Mapping) else [(head, None)]
    return tuple(keys)


def _by_head(keys: Sequence[tuple[str, int | None]], tensors: Sequence[Tensor]) -> dict[str, Any]:
    outputs: dict[str, Any] = {}
    for (head, level), tensor in zip(keys, tensors, strict=True):
        if level is None:
            outputs[head] = tensor
        else:
            outputs.setdefault(head, {})[level] = tensor
    return outputs


def _rename_ends(graph_def: tf.compat.v1.GraphDef, input_tensor: str, outputs: Mapping[str, Tensor]) -> None:
    """Renames the placeholder to `INPUT`, and adds an identity with the name of each output."""
    old = _node_of(input_tensor)
    for node in graph_def.node:
        if node.name == old:
            node.name = INPUT
        for place, name in enumerate(node.input):
            if _node_of(name) == old:
                node.input[place] = INPUT
    for name, tensor in outputs.items():
        node = graph_def.node.add(name=name, op="Identity", input=[tensor.name])
        node.attr["T"].type = tensor.dtype.as_datatype_enum


def folded(graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str]) -> tf.compat.v1.GraphDef:
    """Returns an optimized graph: nodes without effect on the outputs removed, constants evaluated, norms folded.

    Args:
      graph_def: without variables and functions; batch norms in inference mode.
      outputs: names of nodes, which are kept.
    """
    graph_def = tf.compat.v1.graph_util.extract_sub_graph(graph_def, [*outputs])
    _skip_identities(graph_def, outputs)
    constants = _evaluated_constants(graph_def)
    graph_def = _Folding(graph_def, constants).folded()
    return tf.compat.v1.graph_util.extract_sub_graph(graph_def, [INPUT, *outputs])


def _skip_identities(graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str]) -> None:
    """Connects the consumers of identities to their inputs; custom gradients are stored in identities."""
    source: dict[str, str] = {}
    for node in graph_def.node:
        if node.op in ("Identity", "IdentityN", "StopGradient") and node.name not in outputs:
            data = [name for name in node.input if not name.startswith("^")]
            source.update({f"{node.name}:{number}": name for number, name in enumerate(data)})

    def resolved(name: str) -> str:
        while (tensor := _with_number(name)) in source:
            name = source[tensor]
        return name

    for node in graph_def.node:
        # Control dependencies order side effects; a network has none.
        data = [resolved(name) for name in node.input if not name.startswith("^")]
        del node.input[:]
        node.input.extend(data)


def _evaluated_constants(graph_def: tf.compat.v1.GraphDef) -> dict[str, np.ndarray]:
    """Returns the values of all tensors that depend only on constants and have a consumer, by `node:number`."""
    is_constant: dict[str, bool] = {}
    for node in _in_order(graph_def):
        inputs = [is_constant[_node_of(name)] for name in node.input]
        is_constant[node.name] = node.op == "Const" or (bool(inputs) and all(inputs))
    nodes = {node.name: node for node in graph_def.node}
    read = {_with_number(name) for node in graph_def.node for name in node.input}
    constants = {tensor for tensor in read if is_constant[_node_of(tensor)]}
    stated = {tensor: node for tensor in constants if (node := nodes[_node_of(tensor)]).op == "Const"}
    values = {tensor: tf.make_ndarray(node.attr["value"].tensor) for tensor, node in stated.items()}
    wanted = sorted(constants - values.keys())
    if not wanted:
        return values
    part = tf.compat.v1.graph_util.extract_sub_graph(graph_def, sorted({_node_of(tensor) for tensor in wanted}))
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(part, name="")
        with tf.compat.v1.Session(graph=graph) as session:
            return {**values, **dict(zip(wanted, session.run(wanted), strict=True))}


def _in_order(graph_def: tf.compat.v1.GraphDef) -> list[Any]:
    """Returns the nodes in topological order."""
    nodes = {node.name: node for node in graph_def.node}
    done: dict[str, Any] = {}
    for start in graph_def.node:
        waiting = [start]
        while waiting:
            node = waiting[-1]
            missing = [name for name in map(_node_of, node.input) if name not in done]
            if node.name in done or not missing:
                done[node.name] = waiting.pop()
            else:
                waiting.extend(nodes[name] for name in missing)
    return list(done.values())


class _Folding:
    """Rewrites a graph node by node in topological order."""

    def __init__(self, graph_def: tf.compat.v1.GraphDef, constants: Mapping[str, np.ndarray]) -> None:
        self._constants = constants
        self._nodes = {node.name: node for node in graph_def.node}
        self._order = _in_order(graph_def)
        self._num_readers: dict[str, int] = {}
        for node in graph_def.node:
            for name in node.input:
                tensor = _with_number(name)
                self._num_readers[tensor] = self._num_readers.get(tensor, 0) + 1
        self._versions = graph_def.versions
        self._made = tf.compat.v1.GraphDef()

    def folded(self) -> tf.compat.v1.GraphDef:
        self._made.versions.CopyFrom(self._versions)
        evaluated = {_node_of(tensor) for tensor in self._constants}
        for node in self._order:
            if node.name in evaluated:
                continue
            if node.op in _NORMALIZATIONS and self._is_foldable(node):
                self._fold(node)
            else:
                self._made.node.add().CopyFrom(node)
        for tensor, value in self._constants.items():
            self._add_constant(_constant_name(tensor), value)
        for node in self._made.node:
            for place, name in enumerate(node.input):
                if _with_number(name) in self._constants:
                    node.input[place] = _constant_name(name)
        return self._made

    def _is_foldable(self, node: Any) -> bool:
        parameters = [_with_number(name) in self._constants for name in node.input[1:]]
        only_first = not any(self._num_readers.get(f"{node.name}:{number}") for number in range(1, 6))
        is_last = node.attr["data_format"].s in (b"", b"NHWC")
        # In half precision, rounding folded kernels gives other results than rounding products.
        is_exact = node.attr["T"].type == tf.float32.as_datatype_enum
        return all(parameters) and only_first and is_last and is_exact and not node.attr["is_training"].b

    def _fold(self, node: Any) -> None:
        gamma, beta, mean, variance = (np.asarray(self._constants[_with_number(name)]) for name in node.input[1:])
        # In float64, so that folding loses no accuracy.
        scale = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + node.attr["epsilon"].f)
        offset = beta - mean * scale
        before, bias = self._convolution_before(node)
        if before is None:
            self._add_binary("Mul", f"{node.name}/scaled", node.input[0], scale)
            self._add_binary("AddV2", node.name, f"{node.name}/scaled", offset)
            return
        kernel = np.asarray(self._constants[_with_number(before.input[1])])
        convolution = self._made.node.add()
        convolution.CopyFrom(before)
        convolution.name = f"{node.name}/convolution"
        convolution.input[1] = f"{node.name}/kernel"
        self._add_constant(convolution.input[1], _scaled_kernel(before.op, kernel, scale).astype(np.float32))
        self._add_binary("BiasAdd", node.name, convolution.name, offset + bias * scale)

    def _convolution_before(self, node: Any) -> tuple[Any, np.ndarray | float]:
        """Returns the convolution before a normalization and the bias in between; None if it cannot be folded."""
        producer = self._only_producer(node.input[0])
        bias: np.ndarray | float = 0.0
        if producer is not None and producer.op in ("BiasAdd", "Add", "AddV2"):
            value = self._constants.get(_with_number(producer.input[1]))
            if value is None or value.size != value.shape[-1]:
                return None, 0.0
            bias = value.reshape(-1).astype(np.float64)
            producer = self._only_producer(producer.input[0])
        is_convolution = producer is not None and (
            producer.op in _OUTPUT_AXIS or producer.op == "DepthwiseConv2dNative"
        )
        if not is_convolution or _with_number(producer.input[1]) not in self._constants:
            return None, 0.0
        return producer, bias

    def _only_producer(self, name: str) -> Any:
        """Returns the node that produces a tensor with a single consumer."""
        return self._nodes[_node_of(name)] if self._num_readers[_with_number(name)] == 1 else None

    def _add_constant(self, name: str, value: np.ndarray) -> None:
        node = self._made.node.add(name=name, op="Const")
        node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))

    def _add_binary(self, operation: str, name: str, tensor: str, value: np.ndarray) -> None:
        self._add_constant(f"{name}/{operation}/value", value.astype(np.float32))
        node = self._made.node.add(name=name, op=operation, input=[tensor, f"{name}/{operation}/value"])
        node.attr["T"].type = tf.float32.as_datatype_enum


def _scaled_kernel(operation: str, kernel: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Returns the kernel whose outputs are `scale` times as large."""
    if operation == "DepthwiseConv2dNative":
        return kernel * scale.reshape(kernel.shape[2:])
    shape = [1] * 4
    shape[_OUTPUT_AXIS[operation]] = math.prod(scale.shape)
    return kernel * scale.reshape(shape)


def _constant_name(tensor: str) -> str:
    name, _, number = tensor.partition(":")
    return name if number in ("", "0") else f"{name}/output_{number}"


def _node_of(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]


def _with_number(tensor: str) -> str:
    return tensor if ":" in tensor else f"{tensor}:0"
