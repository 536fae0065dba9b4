"""Optimizers, and google/automl's two-step gradient clipping, which Keras's arguments do not allow."""

from collections.abc import Mapping, Sequence
from types import ModuleType

import keras
from efficientdet.types import Tensor
from keras import ops

from efficientdet_pipeline.options.optimizer import OptimizerOptions
from efficientdet_pipeline.training.lr_schedule import LearningRate

# Slots are saved by name; Keras would number the optimizers of a process.
NAME = "optimizer"


def gradient_norms(gradients: Sequence[Tensor]) -> Tensor:
    """Returns the norm of each gradient, as one vector (number of gradients,), float32."""
    # As one vector: hundreds of separate norms would trace thousands of operations.
    return ops.sqrt(ops.stack([ops.sum(ops.square(ops.cast(gradient, "float32"))) for gradient in gradients]))


def clip_gradients(gradients: Sequence[Tensor], norm: float, norms: Tensor | None = None) -> list[Tensor]:
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


def build_optimizer(
    options: OptimizerOptions,
    learning_rate: LearningRate | float,
    variables: Sequence[keras.Variable],
    *,
    rate_factors: Mapping[str, float] | None = None,
) -> keras.optimizers.Optimizer:
    """Returns the optimizer of the options, built for the variables; the train step clips gradients itself.

    Args:
      options: of the training.
      learning_rate: a number or a schedule.
      variables: the variables to optimize.
      rate_factors: path of a variable → factor of its learning rate, by default 1.
    """
    kinds = _kinds()
    if options.optimizer == "sgd":
        optimizer = _scaled(kinds.SGD, rate_factors)(learning_rate, momentum=options.momentum, name=NAME)
    elif options.optimizer == "adam":
        adam = _scaled(kinds.Adam, rate_factors)
        optimizer = adam(learning_rate, beta_1=options.momentum, name=NAME)
    else:
        # The L2 penalty of the loss would be scaled by Adam's second moment; here weight decay is decoupled.
        decay = options.weight_decay
        adamw = _scaled(kinds.AdamW, rate_factors)
        optimizer = adamw(learning_rate, beta_1=options.momentum, weight_decay=decay, name=NAME)
        optimizer.exclude_from_weight_decay([each for each in variables if not each.name.endswith("kernel")])
    optimizer.build(variables)
    return optimizer


def _scaled(
    optimizer: type[keras.optimizers.Optimizer], factors: Mapping[str, float] | None
) -> type[keras.optimizers.Optimizer]:
    """Returns the class with a learning rate per variable; the class itself without factors."""
    if not factors:
        return optimizer
    factor_of = dict(factors)

    class Scaled(optimizer):  # the base class is known at run time only
        def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor) -> None:
            # On TensorFlow, `variable` is the backend's own, which has no path.
            factor = factor_of.get(self._trainable_variables[self._get_variable_index(variable)].path, 1.0)
            super().update_step(gradient, variable, learning_rate if factor == 1.0 else learning_rate * factor)

    return Scaled


def _kinds() -> ModuleType:
    """Returns the module of the optimizer classes: on TensorFlow with fused operations."""
    if keras.backend.backend() == "jax":
        return keras.optimizers
    from efficientdet_pipeline.training import optimizers_tf

    return optimizers_tf
