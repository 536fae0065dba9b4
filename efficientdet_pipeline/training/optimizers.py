"""Optimizers, and google/automl's double gradient clipping, which Keras's own arguments exclude."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from efficientdet_pipeline.options.optimizer import OptimizerOptions

# Slots are saved by name; Keras would number the optimizers of a process.
NAME = "optimizer"


def gradient_norms(gradients: Sequence[Any]) -> Any:
    """Returns the norm of each gradient, as one vector (number of gradients,), float32."""
    # As one vector: hundreds of separate norms would trace thousands of operations.
    return ops.sqrt(ops.stack([ops.sum(ops.square(ops.cast(gradient, "float32"))) for gradient in gradients]))


def clip_gradients(gradients: Sequence[Any], norm: float, norms: Any = None) -> list[Any]:
    """Returns the gradients, each clipped to `norm` separately, then clipped by global norm.

    A single exploding gradient is clipped before it can dominate the global
    norm. (automl does the same.)

    Args:
      norm: above 0.
      norms: `gradient_norms` of the gradients, if already computed.
    """
    norms = gradient_norms(gradients) if norms is None else norms
    clipped = ops.minimum(norms, norm)
    global_norm = ops.sqrt(ops.sum(ops.square(clipped)))
    factors = norm / ops.maximum(norms, norm) * (norm / ops.maximum(global_norm, norm))
    return [
        gradient * ops.cast(factor, gradient.dtype)
        for gradient, factor in zip(gradients, ops.unstack(factors, len(gradients)), strict=True)
    ]


def build_optimizer(options: OptimizerOptions, learning_rate: Any, variables: Sequence[keras.Variable]) -> Any:
    """Returns the optimizer of the options, built for the variables; the train step clips gradients itself."""
    if options.optimizer == "sgd":
        optimizer = _sgd()(learning_rate, momentum=options.momentum, name=NAME)
    elif options.optimizer == "adam":
        optimizer = keras.optimizers.Adam(learning_rate, beta_1=options.momentum, name=NAME)
    else:
        # The L2 penalty of the loss would be scaled by Adam's second moment; here weight decay is decoupled.
        decay = options.weight_decay
        optimizer = keras.optimizers.AdamW(learning_rate, beta_1=options.momentum, weight_decay=decay, name=NAME)
        optimizer.exclude_from_weight_decay([each for each in variables if not each.name.endswith("kernel")])
    optimizer.build(variables)
    return optimizer


def _sgd() -> type[keras.optimizers.SGD]:
    if keras.backend.backend() == "jax":
        return keras.optimizers.SGD
    from efficientdet_pipeline.training.optimizers_tf import SGD

    return SGD
