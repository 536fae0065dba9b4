"""Keras's optimizers with google/automl's double clipping."""

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


class _DoubleClipping:
    """Clips before the optimizer behind it applies; Keras itself excludes clipnorm beside global_clipnorm."""

    clip_norm: float = 0.0

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Applies the clipped gradients."""
        grads = clip_twice(grads, self.clip_norm) if self.clip_norm > 0 else grads
        super().apply(grads, trainable_variables)  # type: ignore[misc]


class ClippedSGD(_DoubleClipping, keras.optimizers.SGD):
    """SGD with momentum."""


class ClippedAdam(_DoubleClipping, keras.optimizers.Adam):
    """Adam."""


class ClippedAdamW(_DoubleClipping, keras.optimizers.AdamW):
    """Adam with decoupled weight decay."""


def build_optimizer(options: Any, learning_rate: Any) -> keras.optimizers.Optimizer:
    """Returns the optimizer that the options name."""
    if options.optimizer == "sgd":
        optimizer = ClippedSGD(learning_rate, momentum=options.momentum, name=NAME)
    elif options.optimizer == "adam":
        optimizer = ClippedAdam(learning_rate, beta_1=options.momentum, name=NAME)
    else:
        # The L2 penalty of the loss would be scaled by Adam's second moment; here the decay stands apart.
        optimizer = ClippedAdamW(learning_rate, beta_1=options.momentum, weight_decay=options.weight_decay, name=NAME)
    optimizer.clip_norm = options.clip_gradients_norm
    return optimizer
