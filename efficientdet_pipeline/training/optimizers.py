"""Keras's optimizers, and google/automl's double clipping, which Keras's own arguments exclude."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

# Slots are kept by name; Keras would number the optimizers of a process.
NAME = "optimizer"


def clip_twice(gradients: Sequence[Any], norm: float) -> list[Any]:
    """Returns the gradients, each clipped to `norm` by itself, then all together.

    A single exploding kernel is cut before it can drown the others in the
    common norm. (automl does the same.)
    """
    # All factors are computed as one vector: hundreds of gradients would make thousands of operations to trace.
    norms = ops.sqrt(ops.stack([ops.sum(ops.square(ops.cast(gradient, "float32"))) for gradient in gradients]))
    clipped = ops.minimum(norms, norm)
    together = ops.sqrt(ops.sum(ops.square(clipped)))
    factors = norm / ops.maximum(norms, norm) * (norm / ops.maximum(together, norm))
    return [
        gradient * ops.cast(factor, gradient.dtype)
        for gradient, factor in zip(gradients, ops.unstack(factors, len(gradients)), strict=True)
    ]


def build_optimizer(options: Any, learning_rate: Any) -> keras.optimizers.Optimizer:
    """Returns the optimizer that the options name; the step clips before it."""
    if options.optimizer == "sgd":
        return keras.optimizers.SGD(learning_rate, momentum=options.momentum, name=NAME)
    if options.optimizer == "adam":
        return keras.optimizers.Adam(learning_rate, beta_1=options.momentum, name=NAME)
    # The L2 penalty of the loss would be scaled by Adam's second moment; here the decay stands apart.
    return keras.optimizers.AdamW(learning_rate, beta_1=options.momentum, weight_decay=options.weight_decay, name=NAME)
