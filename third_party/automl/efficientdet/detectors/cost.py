"""Cost of a detector built from parts: parameters by part, and operations of convolutions by level."""

import contextlib
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import keras

from efficientdet.detectors.detector import OneStageDetector
from efficientdet.types import Tensor

PARTS = ("backbone", "neck", "head")


@dataclass(frozen=True, kw_only=True)
class PartCosts:
    """Cost of one part of the detector, for one image of the config's size."""

    name: str
    trainable: int
    """Number of trainable parameters."""
    weights: int
    """Number of all parameters, moving statistics included."""
    flops: dict[int, int]
    """Multiply-adds of its convolutions by the level of their output; a bias counts one half per pixel."""


def part_costs(detector: OneStageDetector) -> tuple[PartCosts, ...]:
    """Returns the cost of backbone, neck and head.

    Operations are counted per call of a convolution, so that one shared by
    several levels counts on each. `flops.model_cost`, only for google/automl's
    networks, also counts element-wise operations.
    """
    layers = {name: getattr(detector, name) for name in PARTS}
    counts: dict[str, dict[int, int]] = {name: defaultdict(int) for name in PARTS}
    with contextlib.ExitStack() as stack:
        for name, part in layers.items():
            for layer in part._flatten_layers():
                if _kernels(layer):
                    stack.enter_context(_counted(layer, counts[name], detector.image_size[0]))
        detector.compute_output_spec(keras.KerasTensor((1, *detector.image_size, 3), "float32"))
    return tuple(
        PartCosts(
            name=name,
            trainable=sum(math.prod(weight.shape) for weight in part.trainable_weights),
            weights=sum(math.prod(weight.shape) for weight in part.weights),
            flops=dict(sorted(counts[name].items())),
        )
        for name, part in layers.items()
    )


def cost_table(costs: tuple[PartCosts, ...]) -> str:
    """Returns parts, levels and totals as text for a terminal."""
    rows = [f"{'part':<12}{'trainable':>14}{'all weights':>14}{'multiply-adds of convolutions':>31}"]
    for cost in costs:
        rows.append(f"{cost.name:<12}{cost.trainable:>14,}{cost.weights:>14,}{sum(cost.flops.values()):>31,}")
        rows += [f"  P{level:<9}{'':>14}{'':>14}{count:>31,}" for level, count in cost.flops.items()]
    sums = [sum(values) for values in zip(*((cost.trainable, cost.weights) for cost in costs), strict=True)]
    flops = sum(sum(cost.flops.values()) for cost in costs)
    return "\n".join([*rows, f"{'all':<12}{sums[0]:>14,}{sums[1]:>14,}{flops:>31,}"])


def _kernels(layer: keras.layers.Layer) -> list[keras.Variable]:
    return [weight for weight in layer._trainable_variables if weight.name.endswith("kernel") and len(weight.shape) > 1]


@contextlib.contextmanager
def _counted(layer: keras.layers.Layer, counts: dict[int, int], canvas: int) -> Iterator[None]:
    """Adds the operations of each call of a layer to the level of its output."""
    call = layer.call
    kernels = sum(math.prod(kernel.shape) for kernel in _kernels(layer))
    biases = sum(weight.shape[0] for weight in layer._trainable_variables if weight.name == "bias")

    def counted(x: Tensor, *arguments: object, **options: object) -> Tensor:
        output = call(x, *arguments, **options)
        if len(output.shape) == 4:
            height, width = output.shape[1:3]
            counts[max(0, round(math.log2(canvas / height)))] += height * width * (2 * kernels + biases) // 2
        return output

    # Bypasses Keras's __setattr__, which would track the attribute.
    vars(layer)["call"] = counted
    try:
        yield
    finally:
        vars(layer).pop("call", None)
