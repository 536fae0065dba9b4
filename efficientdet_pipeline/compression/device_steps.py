"""The operations of a plan in floating point: folded kernels, and outputs before they are rounded."""

from collections.abc import Mapping, Sequence

import tensorflow as tf
from efficientdet.cpu_kernels import depthwise_convolved, is_at_work
from efficientdet.types import Tensor

from efficientdet_pipeline.compression.network_graph import Operation
from efficientdet_pipeline.compression.quantization_plan import NORMS, Step


def folded(step: Step, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
    """Returns the kernel of a convolution with what follows folded in, and the bias; None for none."""
    kernel = tensors[step.operation.inputs[1]]
    previous = step.operation.output
    scale: Tensor | None = None
    bias: Tensor | None = None
    for operation in step.affine:
        if operation.kind in NORMS:
            factor, offset = _affine_of(operation, tensors)
            scale = factor if scale is None else scale * factor
            bias = offset if bias is None else bias * factor + offset
        else:
            (added,) = (tensors[name] for name in operation.inputs if name != previous)
            added = tf.reshape(added, (-1,))
            bias = added if bias is None else bias + added
        previous = operation.output
    if scale is None:
        return kernel, bias
    if step.operation.kind == "DepthwiseConv2dNative":
        return kernel * tf.reshape(scale, kernel.shape[2:]), bias
    if step.operation.kind == "Conv2DBackpropInput":
        return kernel * scale[:, None], bias
    return kernel * scale, bias


def _affine_of(norm: Operation, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Returns factor and offset of a batch norm in inference."""
    gamma, beta, mean, variance = (tensors[name] for name in norm.inputs[1:])
    factor = gamma * tf.math.rsqrt(variance + norm.definition.attr["epsilon"].f)
    return factor, beta - mean * factor


def computed(step: Step, tensors: Mapping[str, Tensor], is_trained: bool) -> list[Tensor]:
    """Returns the outputs of an operation of the device, before they are rounded."""
    operation = step.operation
    if step.is_convolution and step.kernel_name in tensors:
        inputs = [tensors[name] for name in operation.inputs]
        inputs[1] = tensors[step.kernel_name]
        values = [_convolution(operation, inputs, is_trained)]
        if step.bias_name in tensors:
            values[0] = tf.nn.bias_add(values[0], tensors[step.bias_name])
    elif operation.kind in NORMS:
        factor, offset = _affine_of(operation, tensors)
        values = [tensors[operation.inputs[0]] * factor + offset]
    else:
        values = operation.compute([tensors[name] for name in operation.inputs])
    if step.activation is not None:
        values = step.activation.compute(values)
    return values


def _convolution(operation: Operation, inputs: Sequence[Tensor], is_trained: bool) -> Tensor:
    attributes = operation.definition.attr
    if operation.kind == "DepthwiseConv2dNative" and is_trained and is_at_work():
        strides, kernel = list(attributes["strides"].list.i), inputs[1]
        is_plain = attributes["padding"].s == b"SAME" and set(attributes["dilations"].list.i) <= {1}
        if is_plain and kernel.shape[1] > 3 and inputs[0].shape[1] is not None:
            return depthwise_convolved(inputs[0], kernel, (strides[1], strides[2]))
    return operation.compute(inputs)[0]
