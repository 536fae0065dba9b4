"""Feature fusion: a weighted sum of the inputs of a neck's node."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from efficientdet.types import Tensor


class Fusion(keras.layers.Layer):
    """A weighted sum of feature maps. EfficientDet (Tan et al., 2020), section 3.3.

    * sum: all weights are one, and nothing is learned;
    * fastattn: relu(w) / (sum of relu(w) + 0.0001), one weight per map;
    * attn: softmax over the maps, one weight per map;
    * channel_fastattn, channel_attn: the same, one weight per map and channel.

    Takes a list of `(b, h, w, c)`; returns one.
    """

    EPSILON = 1e-4

    def __init__(self, weight_method: str, **options: Any) -> None:
        super().__init__(**options)
        self.weight_method = weight_method
        self.edge_weights: list[keras.Variable] = []

    def build(self, input_shapes: Sequence[Sequence[int | None]]) -> None:
        if self.weight_method == "sum":
            return
        shape = (input_shapes[0][-1],) if self.weight_method.startswith("channel_") else ()
        options = {"shape": shape, "initializer": "ones", "dtype": "float32", "autocast": False}
        self.edge_weights = [
            self.add_weight(name=f"edge_weight_{edge}", **options) for edge in range(len(input_shapes))
        ]

    def call(self, maps: list[Tensor]) -> Tensor:
        if not self.edge_weights:
            return _sum(maps)
        # Weights are normalized before the sum: they are few, and each large map is then read only once.
        return _sum([x * ops.cast(weight, x.dtype) for x, weight in zip(maps, self._shares(), strict=True)])

    def _shares(self) -> list[Tensor]:
        """Returns the normalized weight of each map."""
        if self.weight_method.endswith("fastattn"):
            positive = [ops.relu(weight) for weight in self.edge_weights]
            total = _sum(positive) + self.EPSILON
            return [weight / total for weight in positive]
        stacked = ops.stack([weight.value for weight in self.edge_weights])
        return ops.unstack(ops.softmax(stacked, axis=0), len(self.edge_weights))


def _sum(terms: Sequence[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
