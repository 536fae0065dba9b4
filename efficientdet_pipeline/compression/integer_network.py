"""A fake-quantized network computed with the integers of the device: what an int8 file of it gives."""

from collections.abc import Mapping, Sequence

import tensorflow as tf
from efficientdet.types import Tensor

from efficientdet_pipeline.compression.device_steps import computed
from efficientdet_pipeline.compression.integer_arithmetic import (
    Grid,
    Whole,
    added,
    averaged,
    grid_of,
    requantized,
    rounded,
    whole_factor,
    whole_kernel,
)
from efficientdet_pipeline.compression.network_graph import NetworkGraph
from efficientdet_pipeline.compression.quantization_plan import KEEPING, QuantizationPlan, Step

_SMALLEST = 1e-6


class IntegerNetwork:
    """One pass over the operations of a plan.

    Args:
      graph: of the network.
      plan: of the graph.
      weights: tensors that depend on weights alone, with folded and rounded kernels, and folded biases.
      ranges: (n, 2).
    """

    def __init__(
        self, graph: NetworkGraph, plan: QuantizationPlan, weights: Mapping[str, Tensor], ranges: Tensor
    ) -> None:
        self.graph, self.plan, self.ranges = graph, plan, ranges
        self.others = dict(weights)
        self.whole: dict[str, Whole] = {}

    def outputs(self, images: Tensor) -> list[Tensor]:
        """Returns the outputs of the graph for normalized images."""
        self._put(self.graph.image, images)
        for step in self.plan.steps:
            self._compute(step)
        return [self._value(name) for name in self.graph.outputs]

    def _grid(self, name: str) -> Grid | None:
        if name in self.plan.fixed:
            return grid_of(*map(tf.constant, self.plan.fixed[name]))
        if name not in self.plan.ranges:
            return None
        lowest, highest = tf.unstack(self.ranges[self.plan.ranges[name]])
        return grid_of(lowest, tf.maximum(highest, lowest + _SMALLEST))

    def _value(self, name: str) -> Tensor:
        return self.whole[name].value if name in self.whole else self.others[name]

    def _put(self, name: str, value: Tensor) -> None:
        grid = self._grid(name)
        if grid is None:
            self.others[name] = value
        else:
            self.whole[name] = rounded(value, grid)

    def _compute(self, step: Step) -> None:
        operation, grid = step.operation, self._grid(step.output)
        found = None
        if operation.kind in KEEPING:
            self._keep(step)
            return
        if grid is not None:
            found = self._convolution(step, grid) or self._elementwise(step, grid)
        if found is not None:
            self.whole[step.output] = found
            return
        values = computed(step, self.others | {name: each.value for name, each in self.whole.items()}, False)
        self._put(step.output, values[0])
        self.others |= {f"{operation.name}:{number}": value for number, value in enumerate(values) if number}

    def _keep(self, step: Step) -> None:
        """Reshapes, pools or joins whole numbers; they keep their scale."""
        operation = step.operation
        scales = [self.whole[name].scale for name in operation.inputs if name in self.whole]
        inputs = [self.whole[name].numbers if name in self.whole else self.others[name] for name in operation.inputs]
        for number, value in enumerate(operation.compute(inputs)):
            name = f"{operation.name}:{number}"
            if scales:
                self.whole[name] = Whole(value, scales[0])
            else:
                self.others[name] = value

    def _convolution(self, step: Step, grid: Grid) -> Whole | None:
        """Returns the output of a convolution or matrix product of weights; None of other operations."""
        operation = step.operation
        data = self.whole.get(operation.inputs[0])
        if not step.is_convolution or data is None or step.kernel_name not in self.others:
            return None
        kernel = whole_kernel(operation.kind, self.others[step.kernel_name])
        sums = operation.compute([data.numbers, kernel.numbers, *map(self._value, operation.inputs[2:])])[0]
        if step.bias_name in self.others:
            bias = tf.cast(self.others[step.bias_name], tf.float64) / (data.scale * kernel.scale)
            sums = sums + tf.cast(tf.round(bias), tf.float32)
        return requantized(sums, (data.scale, kernel.scale), grid, _activation(step))

    def _elementwise(self, step: Step, grid: Grid) -> Whole | None:
        """Returns the output of a sum, product or mean of whole numbers; None of other operations."""
        operation = step.operation
        data = [self.whole.get(name) for name in operation.inputs]
        if operation.kind == "Mean" and data[0] is not None:
            name = operation.inputs[0]
            source = self._grid(self.plan.sources.get(name, name))
            means = operation.compute([data[0].numbers, self.others[operation.inputs[1]]])[0]
            return averaged(means, source, grid) if source is not None else requantized(means, (data[0].scale,), grid)
        if operation.kind not in ("AddV2", "Add", "Mul") or len(data) != 2:
            return None
        whole = [each for each in data if each is not None]
        if operation.kind != "Mul":
            return added(whole[0], whole[1], grid, _activation(step)) if len(whole) == 2 else None
        if len(whole) == 2:
            product = whole[0].numbers * whole[1].numbers
            return requantized(product, (whole[0].scale, whole[1].scale), grid, _activation(step))
        factors = self._weights_of(operation.inputs)
        if len(factors) == 1 and factors[0].shape.num_elements() == 1:
            factor = whole_factor(tf.reshape(factors[0], ()))
            scales = whole[0].scale, factor.scale
            return requantized(whole[0].numbers * factor.numbers, scales, grid, _activation(step))
        return None

    def _weights_of(self, names: Sequence[str]) -> list[Tensor]:
        return [self.others[name] for name in names if name not in self.whole]


def _activation(step: Step) -> str | None:
    return step.activation.kind if step.activation is not None else None
