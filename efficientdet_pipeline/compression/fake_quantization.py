"""Fake quantization: a network computed with the rounding of int8, and the ranges of its activations.

Weights are rounded per output channel, symmetrically, after batch norms are
folded into them; activations per tensor, within moving ranges. The rounding is
that of tensorflow-model-optimization's quantizers (Jacob et al., 2018).
"""

import json
import threading
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from efficientdet.types import Tensor

from efficientdet_pipeline.compression.device_steps import computed, folded
from efficientdet_pipeline.compression.integer_network import IntegerNetwork
from efficientdet_pipeline.compression.network_graph import NetworkGraph, network_graph
from efficientdet_pipeline.compression.quantization_plan import quantization_plan
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
        """Returns the outputs; `seed` has no effect, for nothing is dropped.

        In training, ranges are observed, and rounding has gradients. In
        inference, the integers of the device are computed with, so that the
        outputs are those of an int8 file.
        """
        del seed
        weights = self.weight_tensors()
        if training:
            return self.outputs_of(images, weights, observes=self.is_observing, is_trained=True)
        return self.integer_outputs(images, weights)

    def integer_outputs(self, images: Tensor, weights: Mapping[str, Tensor]) -> object:
        """Returns the outputs that an int8 file gives, given the tensors of `weight_tensors`."""
        ranges = self.ranges_layer.ranges.value
        return self.graph.pack(IntegerNetwork(self.graph, self.plan, weights, ranges).outputs(images))

    def weight_tensors(self) -> dict[str, Tensor]:
        """Returns the tensors that depend on weights alone, folded and rounded kernels and biases among them."""
        tensors: dict[str, Tensor] = {name: each.value for name, each in self.graph.variables.items()}
        for operation in self.plan.weights:
            outputs = operation.compute([tensors[name] for name in operation.inputs])
            tensors |= {f"{operation.name}:{number}": value for number, value in enumerate(outputs)}
        for step in self.plan.steps:
            if step.is_convolution and step.operation.inputs[1] in tensors:
                kernel, bias = folded(step, tensors)
                tensors[step.kernel_name] = rounded_kernel(step.operation.kind, kernel)
                if bias is not None:
                    tensors[step.bias_name] = bias
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
            values = computed(step, tensors, is_trained)
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
