"""Fake quantization: a network computed with the rounding of int8, and the ranges of its activations.

Weights are rounded per output channel, symmetrically, after batch norms are
folded into them; activations per tensor, within moving ranges. The rounding is
that of tensorflow-model-optimization's quantizers (Jacob et al., 2018).
"""

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from efficientdet.cpu_kernels import depthwise_convolved, is_at_work
from efficientdet.types import Tensor

from efficientdet_pipeline.compression.network_graph import NetworkGraph, Operation, network_graph
from efficientdet_pipeline.compression.quantization_plan import NORMS, Step, quantization_plan
from efficientdet_pipeline.compression.tfmot import import_tfmot
from efficientdet_pipeline.errors import DataError
from tfrmod import fileio

_SLOWEST = 9.0
"""min(decay, (1 + t) / (1 + _SLOWEST + t)) is the decay after t observations, as the average of the weights has it."""
_SMALLEST = 1e-6
"""A range is at least this wide: a tensor that is always zero has none."""


class ActivationRanges(keras.layers.Layer):
    """Rounds activations within moving ranges.

    Takes any float32 tensor and gives it as int8 would hold it. What a step
    has observed is kept until `move`, which is called for finite steps alone.
    """

    def __init__(self, count: int, *, decay: float = 0.99) -> None:
        super().__init__(name="activation_ranges")
        self.count, self.decay = count, decay
        self._observed = threading.local()
        self.ranges = self.add_weight(
            name="ranges", shape=(count, 2), initializer="zeros", trainable=False, aggregation="only_first_replica"
        )
        self.observations = self.add_weight(
            name="observations",
            shape=(),
            initializer="zeros",
            dtype="int32",
            trainable=False,
            aggregation="only_first_replica",
        )
        self.built = True

    def begin(self) -> tuple[Tensor, Tensor]:
        """Starts a pass; returns the ranges and whether there are any."""
        self._observed.lowest, self._observed.highest = {}, {}
        return self.ranges.value, self.observations.value > 0

    def observe(self, number: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the range of a tensor, zero included, and keeps it for `move`."""
        x = tf.stop_gradient(x)
        lowest, highest = tf.minimum(tf.reduce_min(x), 0.0), tf.maximum(tf.reduce_max(x), 0.0)
        for kept, value, join in (
            (self._observed.lowest, lowest, tf.minimum),
            (self._observed.highest, highest, tf.maximum),
        ):
            kept[number] = join(kept[number], value) if number in kept else value
        return lowest, highest

    def move(self) -> None:
        """Moves the ranges towards those that the last pass has observed."""
        observed = [(self._observed.lowest[number], self._observed.highest[number]) for number in range(self.count)]
        seen = tf.stack([tf.stack(pair) for pair in observed])
        times = tf.cast(self.observations.value, tf.float32)
        share = 1.0 - tf.minimum(self.decay, times / (_SLOWEST + times))
        self.ranges.assign(self.ranges.value + share * (seen - self.ranges.value))
        self.observations.assign(self.observations.value + 1)


class QuantizedNetwork(keras.Model):
    """A network with the rounding of int8.

    Takes normalized images (b, h, w, 3) and gives what the network gives. It
    reads the network's variables, and has nothing of its own but the ranges;
    batch statistics are the moving ones, in training as well.

    Args:
      network: any Keras model of one image input, with its trained weights.
      image_size: height and width.
      decay: of the moving ranges.
    """

    def __init__(self, network: keras.Model, image_size: tuple[int, int], *, decay: float = 0.99) -> None:
        super().__init__(name="quantized")
        self.network = network
        self.graph: NetworkGraph = network_graph(network, image_size)
        self.plan = quantization_plan(self.graph)
        self.ranges_layer = ActivationRanges(self.plan.num_ranges, decay=decay)
        self.is_observing = True
        """Whether training passes observe ranges."""

    def build(self, input_shape: object) -> None:
        """Nothing to make."""
        self.built = True

    def call(self, images: Tensor, training: bool = False, seed: Tensor | None = None) -> object:
        """Returns the outputs; ranges are observed in training. `seed` has no effect: nothing is dropped."""
        del seed
        return self.outputs_of(images, self.weight_tensors(), observes=bool(training) and self.is_observing,
                               is_trained=bool(training))  # fmt: skip

    def weight_tensors(self) -> dict[str, Tensor]:
        """Returns the tensors that depend on weights alone, folded and rounded kernels and biases among them."""
        tensors: dict[str, Tensor] = {name: each.value for name, each in self.graph.variables.items()}
        for operation in self.plan.weights:
            outputs = operation.compute([tensors[name] for name in operation.inputs])
            tensors |= {f"{operation.name}:{number}": value for number, value in enumerate(outputs)}
        for step in self.plan.steps:
            if step.is_convolution and step.operation.inputs[1] in tensors:
                kernel, bias = _folded(step, tensors)
                tensors[_kernel_name(step)] = rounded_kernel(step.operation.kind, kernel)
                if bias is not None:
                    tensors[_bias_name(step)] = bias
        return tensors

    def outputs_of(
        self,
        images: Tensor,
        weights: Mapping[str, Tensor],
        *,
        ranges: Tensor | None = None,
        observes: bool = False,
        is_trained: bool = False,
    ) -> object:
        """Returns the outputs, given the tensors of `weight_tensors`.

        Args:
          images: normalized.
          weights: for example as constants.
          ranges: (n, 2), in place of the network's own.
          observes: whether ranges are observed.
          is_trained: whether gradients are needed, for which wide kernels take another way on a CPU.
        """
        own_ranges, has_ranges = self.ranges_layer.begin()
        ranges = own_ranges if ranges is None else ranges
        tensors = dict(weights)

        def put(name: str, value: Tensor) -> None:
            if name in self.plan.fixed:
                value = fake_quantized(value, *map(tf.constant, self.plan.fixed[name]))
            elif name in self.plan.ranges:
                number = self.plan.ranges[name]
                lowest, highest = ranges[number, 0], ranges[number, 1]
                if observes:
                    own = self.ranges_layer.observe(number, value)
                    lowest = tf.where(has_ranges, lowest, own[0])
                    highest = tf.where(has_ranges, highest, own[1])
                value = fake_quantized(value, lowest, tf.maximum(highest, lowest + _SMALLEST))
            tensors[name] = value

        put(self.graph.image, images)
        for step in self.plan.steps:
            values = _computed(step, tensors, is_trained)
            put(step.output, values[0])
            for number, value in enumerate(values[1:], start=1):
                put(f"{step.operation.name}:{number}", value)
        return self.graph.pack([tensors[name] for name in self.graph.outputs])

    def output_step(self, group: str) -> float:
        """Returns the difference between neighbouring values of an output, such as "class" or "box"."""
        tensor = self.graph.outputs[self.graph.output_groups.index(group)]
        number = self.plan.ranges[self.plan.sources.get(tensor, tensor)]
        lowest, highest = np.asarray(self.ranges_layer.ranges.value)[number]
        return float(highest - lowest) / 255

    def calibrate(self, images: Tensor) -> None:
        """Moves the ranges by what a batch of normalized images gives, without training."""
        self.outputs_of(tf.convert_to_tensor(images), self.weight_tensors(), observes=True)
        self.ranges_layer.move()

    def save_ranges(self, path: Path | str, ranges: np.ndarray | None = None) -> None:
        """Writes the ranges; `ranges` (n, 2) in place of the present ones."""
        values = np.asarray(self.ranges_layer.ranges.value if ranges is None else ranges, np.float64)
        fileio.write_file(Path(path), json.dumps({"bits": 8, "ranges": values.tolist()}) + "\n")

    def load_ranges(self, path: Path) -> None:
        """Takes the ranges that `save_ranges` wrote.

        Raises:
          DataError: they are those of another network, or no ranges.
        """
        ranges = read_ranges(path)
        if ranges is None or ranges.shape != (self.plan.num_ranges, 2):
            raise DataError(
                f"{path} must hold the ranges of {self.plan.num_ranges} tensors of this network. Received "
                f"{'none' if ranges is None else len(ranges)}; export from the checkpoint that it was written with, or "
                "delete it, and int8 takes its ranges from calibration images."
            )
        self.ranges_layer.ranges.assign(ranges)
        self.ranges_layer.observations.assign(1)


def read_ranges(path: Path) -> np.ndarray | None:
    """Returns the ranges (n, 2) of a file; None where there is none.

    Raises:
      DataError: it is damaged.
    """
    if not path.is_file():
        return None
    try:
        ranges = np.array(json.loads(path.read_text(encoding="utf-8"))["ranges"], np.float32).reshape(-1, 2)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} must hold ranges of activations. It is damaged: {error}.") from error
    if not (np.isfinite(ranges).all() and (ranges[:, 0] <= 0).all() and (ranges[:, 1] >= 0).all()):
        raise DataError(f"{path} must hold finite ranges around zero. Received {ranges.min():g} to {ranges.max():g}.")
    return ranges


def fake_quantized(x: Tensor, lowest: Tensor, highest: Tensor) -> Tensor:
    """Returns activations as int8 holds them within a range, which is moved so that zero is exact."""
    quant_ops = import_tfmot("quantization.keras.quant_ops")
    return quant_ops.MovingAvgQuantize(x, lowest, highest, is_training=False, num_bits=8, narrow_range=False)


def rounded_kernel(kind: str, kernel: Tensor) -> Tensor:
    """Returns a kernel as int8 holds it: from -127 to 127 times a scale of each output channel."""
    quant_ops = import_tfmot("quantization.keras.quant_ops")
    shape = kernel.shape
    if kind == "DepthwiseConv2dNative":
        flat = tf.reshape(kernel, (*shape[:2], 1, shape[2] * shape[3]))
    elif kind == "Conv2DBackpropInput":
        flat = tf.transpose(kernel, (0, 1, 3, 2))
    else:
        flat = kernel
    largest = tf.reduce_max(tf.abs(tf.stop_gradient(flat)), axis=list(range(len(flat.shape) - 1)))
    largest = tf.maximum(largest, _SMALLEST * 1e-3)
    flat = quant_ops.LastValueQuantize(
        flat, -largest, largest, per_channel=True, is_training=False, num_bits=8, narrow_range=True, symmetric=True
    )
    if kind == "Conv2DBackpropInput":
        return tf.transpose(flat, (0, 1, 3, 2))
    return tf.reshape(flat, shape)


def _folded(step: Step, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
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


def _computed(step: Step, tensors: Mapping[str, Tensor], is_trained: bool) -> list[Tensor]:
    """Returns the outputs of an operation of the device, before they are rounded."""
    operation = step.operation
    if step.is_convolution and _kernel_name(step) in tensors:
        inputs = [tensors[name] for name in operation.inputs]
        inputs[1] = tensors[_kernel_name(step)]
        values = [_convolution(operation, inputs, is_trained)]
        if _bias_name(step) in tensors:
            values[0] = tf.nn.bias_add(values[0], tensors[_bias_name(step)])
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


def _kernel_name(step: Step) -> str:
    return f"{step.operation.name}/folded_kernel"


def _bias_name(step: Step) -> str:
    return f"{step.operation.name}/folded_bias"
