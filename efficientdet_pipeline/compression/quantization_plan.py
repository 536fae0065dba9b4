"""Where an int8 network rounds: its operations as TFLite fuses them, and which tensors share a range.

A convolution with its batch norm, bias and ReLU is one operation on the device,
whose output alone is rounded; swish is a sigmoid and a product, rounded each.
Pooling, reshaping and concatenation keep the range of their input.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from efficientdet_pipeline.compression.network_graph import NetworkGraph, Operation

CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "MatMul")
NORMS = ("FusedBatchNormV3",)
_SUMS = ("BiasAdd", "AddV2", "Add")
_ACTIVATIONS = ("Relu", "Relu6")
_FUSING = (*_SUMS, "Mul", "Sub")
"""Operations that TFLite fuses a ReLU into, beside convolutions."""
KEEPING = (
    *("Reshape", "Squeeze", "ExpandDims", "Transpose", "MaxPool", "ConcatV2", "GatherV2", "StridedSlice", "Slice"),
    *("Pad", "PadV2", "Tile", "Pack", "Unpack", "Split", "ResizeNearestNeighbor"),
)
"""Operations whose outputs have the range of their inputs."""
FIXED_RANGES: Mapping[str, tuple[float, float]] = {
    "Sigmoid": (0.0, 255 / 256),
    "Softmax": (0.0, 255 / 256),
    "Tanh": (-1.0, 127 / 128),
}
"""Operations whose output TFLite always scales in the same way."""


@dataclass
class Step:
    """One operation of the device."""

    operation: Operation
    affine: list[Operation] = field(default_factory=list)
    """Of a convolution: batch norms and biases after it, which are folded into it."""
    activation: Operation | None = None

    @property
    def output(self) -> str:
        """The tensor that it makes."""
        last = self.activation or (self.affine[-1] if self.affine else self.operation)
        return last.output

    @property
    def kernel_name(self) -> str:
        """Name of the folded and rounded kernel of a convolution."""
        return f"{self.operation.name}/folded_kernel"

    @property
    def bias_name(self) -> str:
        """Name of the folded bias of a convolution."""
        return f"{self.operation.name}/folded_bias"

    @property
    def is_convolution(self) -> bool:
        """Whether it multiplies a kernel of weights."""
        return self.operation.kind in CONVOLUTIONS


@dataclass(frozen=True)
class QuantizationPlan:
    """The operations of a network on the device, and the ranges of its tensors."""

    weights: tuple[Operation, ...]
    """What is computed from weights alone."""
    steps: tuple[Step, ...]
    ranges: Mapping[str, int]
    """Tensor that is rounded → number of its range; those that are concatenated share one."""
    fixed: Mapping[str, tuple[float, float]]
    """Tensor → (lowest, highest), where TFLite leaves no choice."""
    num_ranges: int
    sources: Mapping[str, str]
    """Tensor that keeps a range → a tensor that is rounded within it."""


def quantization_plan(graph: NetworkGraph) -> QuantizationPlan:
    """Returns the plan of a network."""
    steps = list(_steps(graph))
    keeping: dict[str, str] = {}
    """Tensor → the tensor whose range it has, transitively."""

    def root(tensor: str) -> str:
        while tensor in keeping:
            tensor = keeping[tensor]
        return tensor

    def join(tensors: Sequence[str]) -> None:
        first, *others = dict.fromkeys(root(tensor) for tensor in tensors)
        keeping.update(dict.fromkeys(others, first))

    rounded: list[str] = [graph.image]
    fixed: dict[str, tuple[float, float]] = {}
    of_images = {graph.image} | {f"{name}:{number}" for name in graph.of_images for number in range(8)}
    for step in steps:
        operation, output = step.operation, step.output
        if output not in graph.float_tensors:
            continue
        if operation.kind in FIXED_RANGES and step.activation is None:
            fixed[output] = FIXED_RANGES[operation.kind]
        elif operation.kind in KEEPING:
            data = [name for name in operation.inputs if name in of_images and name in graph.float_tensors]
            outputs = [f"{operation.name}:{number}" for number in range(8)]
            made = [name for name in outputs if name == output or name in graph.readers or name in graph.outputs]
            join([*data, *made])
        else:
            rounded.append(output)
    for group in dict.fromkeys(graph.output_groups):
        # Exports concatenate the levels of a head.
        join([name for name, of in zip(graph.outputs, graph.output_groups, strict=True) if of == group])
    free = [tensor for tensor in rounded if tensor not in fixed]
    numbers: dict[str, int] = {}
    ranges = {tensor: numbers.setdefault(root(tensor), len(numbers)) for tensor in free}
    weights = tuple(operation for operation in graph.operations if operation.name not in graph.of_images)
    of_root = {root(tensor): tensor for tensor in free}
    sources = {tensor: of_root[root(tensor)] for tensor in keeping if root(tensor) in of_root}
    return QuantizationPlan(weights, tuple(steps), ranges, fixed, len(numbers), sources)


def _steps(graph: NetworkGraph) -> Iterator[Step]:
    taken: set[str] = set()
    for operation in graph.operations:
        if operation.name not in graph.of_images or operation.name in taken:
            continue
        step = Step(operation)
        if step.is_convolution and operation.inputs[1] not in _tensors_of_images(graph):
            _take_affine(graph, step)
        elif operation.kind in NORMS:
            step = Step(operation)
        reader = graph.only_reader(step.output)
        if reader is not None and reader.kind in _ACTIVATIONS and operation.kind in (*CONVOLUTIONS, *_FUSING):
            step.activation = reader
        taken |= {each.name for each in step.affine}
        if step.activation is not None:
            taken.add(step.activation.name)
        yield step


def _take_affine(graph: NetworkGraph, step: Step) -> None:
    """Takes the batch norms and biases that follow a convolution into its step."""
    of_images = _tensors_of_images(graph)
    while (reader := graph.only_reader(step.output)) is not None:
        is_norm = reader.kind in NORMS and reader.inputs[0] == step.output
        others = [name for name in reader.inputs if name != step.output]
        is_bias = reader.kind in _SUMS and len(others) == 1 and others[0] not in of_images
        if not (is_norm or is_bias):
            return
        step.affine.append(reader)


def _tensors_of_images(graph: NetworkGraph) -> frozenset[str]:
    return frozenset({graph.image} | {f"{name}:{number}" for name in graph.of_images for number in range(8)})
