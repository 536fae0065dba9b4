"""A network as a list of operations, which can be computed in another way than the network does.

The network is traced once, for inference, with its variables as inputs. Each
operation can then be repeated in eager mode or in a graph, with gradients.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import keras
import tensorflow as tf
from efficientdet.types import Tensor
from tensorflow.python.framework import op_def_registry

_REPEATING = ("Identity", "IdentityN", "StopGradient", "PreventGradient")


@dataclass(frozen=True)
class Operation:
    """One operation of a graph."""

    name: str
    kind: str
    """Name of the TensorFlow operation, such as Conv2D."""
    inputs: tuple[str, ...]
    """Tensors, as `name:number`."""
    definition: tf.compat.v1.NodeDef = field(compare=False, repr=False)

    @property
    def output(self) -> str:
        """The first output."""
        return f"{self.name}:0"

    def compute(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Returns the outputs for other inputs than those of the trace."""
        if self.kind == "Const":
            return [tf.constant(tf.make_ndarray(self.definition.attr["value"].tensor))]
        function = getattr(tf.raw_ops, self.kind)
        known = inspect.signature(inspect.unwrap(function)).parameters

        def name_of(name: str) -> str:
            # What Python's API calls otherwise than the definition is an axis: dim, squeeze_dims, reduction_indices.
            return name if name in known else "axis"

        arguments: dict[str, object] = {}
        given = list(inputs)
        described = op_def_registry.get(self.kind)
        inferred = set()
        for each in described.input_arg:
            inferred |= {each.type_attr, each.number_attr, each.type_list_attr}
            count = self._count(each)
            arguments[name_of(each.name)] = given[0] if count is None else given[:count]
            given = given[1 if count is None else count :]
        values = self.definition.attr
        for attribute in described.attr:
            if attribute.name not in inferred and attribute.name in values:
                arguments[name_of(attribute.name)] = _attribute_value(values[attribute.name])
        outputs = function(**arguments)
        return list(outputs) if isinstance(outputs, tuple | list) else [outputs]

    def _count(self, argument: object) -> int | None:
        """Returns how many tensors an argument takes; None for one that is no list."""
        number, kinds = getattr(argument, "number_attr", ""), getattr(argument, "type_list_attr", "")
        if number:
            return int(self.definition.attr[number].i)
        return len(self.definition.attr[kinds].list.type) if kinds else None


def _attribute_value(value: tf.compat.v1.AttrValue) -> object:
    kind = value.WhichOneof("value")
    if kind == "list":
        parts = next((list(part) for _, part in value.list.ListFields()), [])
        is_of_types = bool(value.list.type)
        return [tf.as_dtype(part) for part in parts] if is_of_types else parts
    if kind == "type":
        return tf.as_dtype(value.type)
    return tf.TensorShape(value.shape) if kind == "shape" else getattr(value, kind)


@dataclass(frozen=True)
class NetworkGraph:
    """The operations of a network in the order of computation."""

    operations: tuple[Operation, ...]
    image: str
    """The tensor of the images."""
    variables: Mapping[str, keras.Variable]
    """Tensor → the variable that it holds."""
    outputs: tuple[str, ...]
    pack: Callable[[Sequence[Tensor]], object]
    """Outputs → the structure that the network returns."""
    output_groups: tuple[str, ...]
    """For each output, which part of the structure it is of: the levels of a head are of one."""
    float_tensors: frozenset[str]

    @cached_property
    def readers(self) -> Mapping[str, list[Operation]]:
        """Tensor → the operations that read it."""
        found: dict[str, list[Operation]] = {}
        for operation in self.operations:
            for name in operation.inputs:
                found.setdefault(name, []).append(operation)
        return found

    @cached_property
    def of_images(self) -> frozenset[str]:
        """Names of the operations whose outputs depend on the images; the others depend on weights alone."""
        tensors, names = {self.image}, set()
        for operation in self.operations:
            if tensors.intersection(operation.inputs):
                names.add(operation.name)
                tensors |= {f"{operation.name}:{number}" for number in range(8)}
        return frozenset(names)

    def only_reader(self, tensor: str) -> Operation | None:
        """Returns the operation that alone reads a tensor; None where several do, or it is an output."""
        readers = self.readers.get(tensor, [])
        return readers[0] if len(readers) == 1 and tensor not in self.outputs else None


def network_graph(network: keras.Model, image_size: tuple[int, int]) -> NetworkGraph:
    """Returns the operations of a network in inference.

    Args:
      network: any Keras model of one input, images (b, h, w, 3).
      image_size: height and width.
    """
    variables = [variable for variable in network.variables if "float" in variable.dtype]

    @tf.function(autograph=False)
    def forward(images: Tensor, values: list[Tensor]) -> object:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return network(images, training=False)

    images = tf.TensorSpec((None, *image_size, 3), tf.float32)
    concrete = forward.get_concrete_function(images, [tf.TensorSpec(each.shape, each.dtype) for each in variables])
    source: dict[str, str] = {}
    found: dict[str, Operation] = {}
    for node in concrete.graph.as_graph_def().node:
        inputs = tuple(_resolved(_numbered(name), source) for name in node.input if not name.startswith("^"))
        if node.op in _REPEATING:
            source |= {f"{node.name}:{number}": name for number, name in enumerate(inputs)}
        elif node.op != "Placeholder":
            found[node.name] = Operation(node.name, node.op, inputs, node)
    # Nodes of a graph definition need not be in order; identities that came late are resolved here.
    resolved = {
        name: Operation(name, each.kind, tuple(_resolved(tensor, source) for tensor in each.inputs), each.definition)
        for name, each in found.items()
    }
    outputs = tuple(_resolved(tensor.name, source) for tensor in concrete.outputs)
    structure = concrete.structured_outputs
    return NetworkGraph(
        operations=_in_order(resolved, outputs),
        image=concrete.inputs[0].name,
        variables={tensor.name: variable for tensor, variable in zip(concrete.inputs[1:], variables, strict=True)},
        outputs=outputs,
        pack=lambda tensors: tf.nest.pack_sequence_as(structure, list(tensors)),
        output_groups=_groups(structure),
        float_tensors=frozenset(
            tensor.name
            for operation in concrete.graph.get_operations()
            for tensor in operation.outputs
            if tensor.dtype == tf.float32
        ),
    )


def _groups(structure: object) -> tuple[str, ...]:
    if not isinstance(structure, Mapping):
        return tuple(str(number) for number in range(len(tf.nest.flatten(structure))))
    return tuple(str(key) for key in sorted(structure) for _ in tf.nest.flatten(structure[key]))


def _in_order(operations: Mapping[str, Operation], outputs: Sequence[str]) -> tuple[Operation, ...]:
    """Returns the operations that the outputs need, each after its inputs."""
    done: dict[str, Operation] = {}
    waiting = [operations[name] for name in map(_node_of, reversed(outputs)) if name in operations]
    while waiting:
        operation = waiting[-1]
        missing = [
            operations[name] for name in map(_node_of, operation.inputs) if name in operations and name not in done
        ]
        if operation.name in done or not missing:
            done[operation.name] = waiting.pop()
        else:
            waiting += missing
    return tuple(done.values())


def _resolved(tensor: str, source: Mapping[str, str]) -> str:
    while tensor in source:
        tensor = source[tensor]
    return tensor


def _node_of(tensor: str) -> str:
    return tensor.rpartition(":")[0]


def _numbered(name: str) -> str:
    return name if ":" in name else f"{name}:0"
