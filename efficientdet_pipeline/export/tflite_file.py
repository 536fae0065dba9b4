"""Reading and editing of TensorFlow Lite flatbuffers: names of inputs and outputs, tensors, operations, metadata."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import flatbuffers
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

_IDENTIFIER = b"TFL3"
_MAX_STEPS = 256
"""Steps of the output in one step of the sum, from which on XNNPACK refuses an int8 operation."""
_WITH_BIAS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_BUILTIN_NAMES = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}


def read_model(content: bytes) -> Any:
    """Returns a flatbuffer as a `schema.ModelT`, with all buffers inside."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    for buffer in model.buffers:
        # Large files store buffers after the flatbuffer, at offsets that would be wrong in a changed file.
        if getattr(buffer, "offset", 0):
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def serialized(model: Any) -> bytes:
    """Returns the flatbuffer of a `schema.ModelT`."""
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def operations(content: bytes) -> set[str]:
    """Returns the names of the operations of a file; custom ones as `CUSTOM name`."""
    model = schema.Model.GetRootAsModel(content, 0)
    codes = [model.OperatorCodes(number) for number in range(model.OperatorCodesLength())]
    names = set()
    for code in codes:
        name = _BUILTIN_NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        names.add(f"CUSTOM {code.CustomCode().decode()}" if name == "CUSTOM" else name)
    return names


def with_own_biases(content: bytes) -> bytes:
    """Returns the file with a bias tensor of its own for each convolution; those of the heads' last layers are shared.

    TensorFlow's quantizer for 16-bit activations quantizes a shared bias once, with the scales of the first convolution
    that reads it, which are wrong for the others.
    """
    model = read_model(content)
    graph, seen = model.subgraphs[0], set[int]()
    for operation in graph.operators:
        code = model.operatorCodes[operation.opcodeIndex]
        bias = int(operation.inputs[2]) if len(operation.inputs) > 2 else -1
        if _BUILTIN_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)] not in _WITH_BIAS or bias < 0:
            continue
        if bias in seen:
            own = copy.copy(graph.tensors[bias])
            own.name = own.name + b"/%d" % len(graph.tensors)
            own.buffer = add_buffer(model, np.asarray(model.buffers[own.buffer].data, np.uint8).tobytes())
            graph.tensors.append(own)
            operation.inputs = [*map(int, operation.inputs[:2]), len(graph.tensors) - 1]
        seen.add(bias)
    return serialized(model)


def has_too_small_ranges(content: bytes) -> bool:
    """Returns whether XNNPACK refuses an operation of an int8 file: its whole output is less than one step of its sum.

    So it is where activations were about 0 on all calibration images.
    """
    for tensors in _weighted_operations(read_model(content)):
        ranges = [each.quantization for each in tensors]
        scales = [float(each.scale.max()) for each in ranges if each is not None and each.scale is not None]
        if len(scales) == len(tensors) and scales[0] * scales[1] >= _MAX_STEPS * scales[2]:
            return True
    return False


def with_wider_ranges(content: bytes) -> bytes:
    """Returns a calibrated file in which such outputs have the range of a single product of the sum."""
    model = read_model(content)
    for taken, weights, given in _weighted_operations(model):
        data = model.buffers[weights.buffer].data
        width, own_width = _span(taken.quantization), _span(given.quantization)
        if data is None or weights.type != schema.TensorType.FLOAT32 or width is None or own_width is None:
            continue
        product = width * float(np.abs(np.asarray(data, np.uint8).view(np.float32)).max())
        if product > 64 * _MAX_STEPS * own_width:  # int8 weights have 127 steps.
            given.quantization.max = [given.quantization.min[0] + product]
    return serialized(model)


def _weighted_operations(model: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yields the tensors of the input, the weights and the output of each convolution and dense layer, in order."""
    graph = model.subgraphs[0]
    for operation in graph.operators:
        code = model.operatorCodes[operation.opcodeIndex]
        if _BUILTIN_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)] in _WITH_BIAS:
            yield tuple(graph.tensors[int(each)] for each in (*operation.inputs[:2], operation.outputs[0]))


def _span(ranges: Any) -> float | None:
    """Returns the width of a calibrated range with 0 in it; None if there is none."""
    if ranges is None or ranges.max is None or not len(ranges.max):
        return None
    return float(max(ranges.max[0], 0.0) - min(ranges.min[0], 0.0))


def name_ends(model: Any, *, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Names the input and output tensors, and adds the signature serving_default."""
    graph = model.subgraphs[0]
    maps = []
    for names, indices in ((inputs, graph.inputs), (outputs, graph.outputs)):
        ends = []
        for name, index in zip(names, indices, strict=True):
            graph.tensors[index].name = name.encode()
            end = schema.TensorMapT()
            end.name, end.tensorIndex = name.encode(), int(index)
            ends.append(end)
        maps.append(ends)
    signature = schema.SignatureDefT()
    signature.inputs, signature.outputs = maps
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    model.signatureDefs = [signature]


def add_tensor(model: Any, name: str, shape: Sequence[int], value: np.ndarray | None = None) -> int:
    """Adds a float32 tensor, constant if a value is given; returns its index."""
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = name.encode(), list(shape), schema.TensorType.FLOAT32
    tensor.buffer = 0
    if value is not None:
        tensor.buffer = add_buffer(model, np.ascontiguousarray(value, np.float32).tobytes())
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1


def add_buffer(model: Any, content: bytes) -> int:
    """Adds a buffer; returns its index."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(content, np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def add_operation(model: Any, code: int, inputs: Sequence[int], outputs: Sequence[int], custom: str = "") -> Any:
    """Adds an operation at the end of the graph; returns it, so that its options can be set."""
    operator_code = schema.OperatorCodeT()
    operator_code.builtinCode, operator_code.deprecatedBuiltinCode, operator_code.version = code, min(code, 127), 1
    operator_code.customCode = custom.encode() if custom else None
    model.operatorCodes.append(operator_code)
    operation = schema.OperatorT()
    operation.opcodeIndex = len(model.operatorCodes) - 1
    operation.inputs, operation.outputs = list(inputs), list(outputs)
    model.subgraphs[0].operators.append(operation)
    return operation


def add_metadata(model: Any, name: str, content: bytes) -> None:
    """Adds a named metadata buffer, or replaces the one with that name."""
    entry = schema.MetadataT()
    entry.name, entry.buffer = name.encode(), add_buffer(model, content)
    model.metadata = [each for each in model.metadata or [] if each.name != entry.name] + [entry]
