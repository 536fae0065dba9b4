"""The moving average of the weights: what is evaluated, saved as the model, and exported."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
from efficientdet.layers import move_towards
from keras import ops


class ExponentialMovingAverage:
    """Keeps an exponential moving average of variables, batch statistics included.

    The decay grows with the steps, min(decay, (1 + t) / (10 + t)), so that the
    first weights are soon forgotten. (TensorFlow's ExponentialMovingAverage with
    num_updates, which the published checkpoints were made with.)
    """

    def __init__(self, variables: Sequence[keras.Variable], decay: float):
        self.decay = decay
        self.variables = list(variables)
        # Copies: on TensorFlow, a Keras variable made of another's value is that other.
        self.shadows = [
            keras.Variable(
                ops.copy(variable.value),
                trainable=False,
                dtype=variable.dtype,
                # Several devices hold equal weights: what one makes of them is what all would.
                aggregation="only_first_replica",
                name=f"average_{index}",
            )
            for index, variable in enumerate(self.variables)
        ]

    def update(self, step: keras.KerasTensor) -> None:
        """Takes the variables' values of after step `step` (0-based) into the average."""
        step = ops.cast(step, "float32")
        rest = 1.0 - ops.minimum(self.decay, (1.0 + step) / (10.0 + step))
        for shadow, variable in zip(self.shadows, self.variables, strict=True):
            move_towards(shadow, variable.value, rest)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Puts the averages into the variables for a while, and the raw values back behind it."""
        raw = [_kept(variable) for variable in self.variables]
        for variable, shadow in zip(self.variables, self.shadows, strict=True):
            variable.assign(shadow.value)
        try:
            yield
        finally:
            for variable, value in zip(self.variables, raw, strict=True):
                variable.assign(value)


def _kept(variable: keras.Variable) -> Any:
    """Returns a variable's value, out of reach of later assignments."""
    if keras.backend.backend() == "jax":
        # Arrays of JAX do not change; and a copy from the host is a matter for all processes of a training.
        return variable.value
    return variable.numpy()
