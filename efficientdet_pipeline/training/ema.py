"""Exponential moving average (EMA) of the weights, which is evaluated, saved as the model, and exported."""

import contextlib
from collections.abc import Iterator, Sequence

import keras
from efficientdet.layers import move_towards
from keras import ops


class ExponentialMovingAverage:
    """Exponential moving average of variables, batch statistics included.

    The decay increases with the steps, min(decay, (1 + t) / (10 + t)), so that the
    influence of the initial weights vanishes quickly. (TensorFlow's
    ExponentialMovingAverage with num_updates, as for the published checkpoints.)
    """

    def __init__(self, variables: Sequence[keras.Variable], decay: float):
        self.decay = decay
        self.variables = list(variables)
        # Copies: on TensorFlow, a Keras variable created from another's value shares it.
        self.shadows = [
            keras.Variable(
                ops.copy(variable.value),
                trainable=False,
                dtype=variable.dtype,
                # All devices have equal weights, so their averages are equal.
                aggregation="only_first_replica",
                name=f"average_{index}",
            )
            for index, variable in enumerate(self.variables)
        ]

    @property
    def state(self) -> Sequence[keras.Variable]:
        """The averages."""
        return self.shadows

    def update(self, step: keras.KerasTensor) -> None:
        """Updates the average with the variables' values after step `step` (0-based)."""
        step = ops.cast(step, "float32")
        share = 1.0 - ops.minimum(self.decay, (1.0 + step) / (10.0 + step))
        for shadow, variable in zip(self.shadows, self.variables, strict=True):
            move_towards(shadow, variable.value, share)

    @contextlib.contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Assigns the averages to the variables inside the context, and restores the raw values at its end."""
        raw = [_copy_of(variable) for variable in self.variables]
        for variable, shadow in zip(self.variables, self.shadows, strict=True):
            variable.assign(shadow.value)
        try:
            yield
        finally:
            for variable, value in zip(self.variables, raw, strict=True):
                variable.assign(value)


def _copy_of(variable: keras.Variable) -> keras.Variable:
    """Returns a copy of a variable's value that later assignments do not change."""
    if keras.backend.backend() == "jax":
        # JAX arrays are immutable, and a copy from the host would involve all processes of a training.
        return variable.value
    return variable.numpy()
