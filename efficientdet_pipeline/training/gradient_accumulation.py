"""Gradient accumulation: a batch is computed in parts, which saves memory and gives the same gradient."""

from collections.abc import Callable, Sequence

import keras
from efficientdet.layers import BatchNormalization, Statistics
from efficientdet.types import Tensor, TensorTree
from keras import ops, tree

# Result of a part or of a batch: gradients, losses by name, batch statistics.
Result = tuple[list[Tensor], dict[str, Tensor], list[Statistics]]


def accumulate_gradients(
    compute_gradients: Callable[..., Result],
    batch: TensorTree,
    *,
    parts: int,
    fori_loop: Callable[..., TensorTree],
    like: tuple[Sequence[keras.Variable], Sequence[str], Sequence[BatchNormalization]],
) -> Result:
    """Returns the sums of gradients and losses over all parts of a batch, and the means of its statistics.

    Args:
      compute_gradients: (part of the batch, its number) → its result.
      batch: a structure of tensors whose first axis is divisible by `parts`.
      parts: number of parts; part p holds samples p, p + parts, and so on, so
        that samples stay on their device when several share the batch.
      fori_loop: (times, body, start) → end, where body is (number, values) →
        values; the backend's sequential loop.
      like: variables, names of losses, and layers in a result.
    """
    variables, names, layers = like
    rows = tree.map_structure(lambda x: ops.reshape(x, (-1, parts, *x.shape[1:])), batch)
    seen: set[int] = set()

    def body(number: Tensor, sums: TensorTree) -> TensorTree:
        part = tree.map_structure(lambda x: ops.take(x, number, axis=1), rows)
        gradients, losses, statistics = compute_gradients(part, number)
        by_layer = {id(layer): pair for layer, *pair in statistics}
        seen.update(by_layer)
        pairs = [by_layer.get(id(layer), zeros) for layer, zeros in zip(layers, sums[2], strict=True)]
        return tree.map_structure(lambda total, value: total + value, sums, (gradients, losses, pairs))

    zeros = (
        [ops.zeros(variable.shape, "float32") for variable in variables],
        {name: ops.zeros((), "float32") for name in names},
        [[ops.zeros(layer.gamma.shape, "float32") for _ in range(2)] for layer in layers],
    )
    gradients, losses, pairs = fori_loop(parts, body, zeros)
    means = [
        Statistics(layer, *(total / parts for total in pair))
        for layer, pair in zip(layers, pairs, strict=True)
        if id(layer) in seen
    ]
    return gradients, losses, means
