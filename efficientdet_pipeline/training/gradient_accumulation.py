"""A batch computed in parts, one after the other: the memory of a part, the gradient of the whole."""

from collections.abc import Callable, Sequence
from typing import Any

from efficientdet.layers import BatchNormalization, Statistics
from efficientdet.types import Tensor
from keras import ops, tree

# What a part or a batch gives: gradients, losses by name, what the layers saw.
Result = tuple[list[Tensor], dict[str, Tensor], list[Statistics]]


def accumulate_gradients(
    differentiate: Callable[..., Result],
    batch: Any,
    *,
    parts: int,
    loop: Callable[..., Any],
    like: tuple[Sequence[Any], Sequence[str], Sequence[BatchNormalization]],
) -> Result:
    """Returns the sums of gradients and losses over all parts of a batch, and the means of its statistics.

    Args:
      differentiate: (part of the batch, its number) → its result.
      batch: a structure of tensors whose first axis divides by `parts`.
      parts: how many; part p takes samples p, p + parts, and so on, so that
        each device keeps its own where the batch lies on several.
      loop: (times, body, start) → end, where body is (number, values) → values.
        The engine's own, one time after the other.
      like: variables, names of losses, and layers that a result speaks of.
    """
    variables, names, layers = like
    rows = tree.map_structure(lambda x: ops.reshape(x, (-1, parts, *x.shape[1:])), batch)
    seen: set[int] = set()

    def body(number: Tensor, sums: Any) -> Any:
        part = tree.map_structure(lambda x: ops.take(x, number, axis=1), rows)
        gradients, losses, statistics = differentiate(part, number)
        by_layer = {id(layer): pair for layer, *pair in statistics}
        seen.update(by_layer)
        pairs = [by_layer.get(id(layer), zeros) for layer, zeros in zip(layers, sums[2], strict=True)]
        return tree.map_structure(lambda total, value: total + value, sums, (gradients, losses, pairs))

    zeros = (
        [ops.zeros(variable.shape, "float32") for variable in variables],
        {name: ops.zeros((), "float32") for name in names},
        [[ops.zeros(layer.gamma.shape, "float32") for _ in range(2)] for layer in layers],
    )
    gradients, losses, pairs = loop(parts, body, zeros)
    means = [
        Statistics(layer, *(total / parts for total in pair))
        for layer, pair in zip(layers, pairs, strict=True)
        if id(layer) in seen
    ]
    return gradients, losses, means
