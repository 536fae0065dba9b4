"""The training step on JAX; devices and processes are those of `keras.distribution`, and a batch is all of theirs."""

from collections.abc import Callable
from typing import Any

import jax
import keras
from efficientdet.layers import Statistics, collected_statistics
from efficientdet.types import GroundTruth, Targets, Tensor
from jax import numpy as jnp

from efficientdet_pipeline.training.gradient_accumulation import Result
from efficientdet_pipeline.training.train_step import TrainStepModel

State = tuple[list[Any], ...]


class TrainingModel(TrainStepModel):
    """A run's learner in Keras's stateless form: a step is a function from state to state.

    Sums over a batch are sums over the batch of all devices, normaliser and
    batch statistics too: XLA divides the arrays, not the arithmetic.
    """

    def train_step(self, state: State, data: Any) -> tuple[dict[str, Any], State]:
        """Takes one step; returns the running means and the new state."""
        images, truth, *_ = data
        groups = self._variables()
        pairs = [pair for group in zip(groups, state, strict=True) for pair in zip(*group, strict=True)]
        with keras.StatelessScope(pairs) as self._scope:
            logs = self.take_step(images, GroundTruth(*truth))
        values = self._scope.state_mapping
        return logs, tuple([values[id(variable)] for variable in group] for group in groups)

    def _variables(self) -> tuple[list[keras.Variable], ...]:
        """Returns the variables in the groups and the order of Keras's state."""
        return (
            self.trainable_variables,
            self.non_trainable_variables,
            self.optimizer.variables,
            self.metrics_variables,
        )

    def differentiate(self, batch: tuple[Tensor, Targets], normalizer: Tensor, seed: Tensor | None) -> Result:
        """Returns gradients, losses and batch statistics."""
        images, targets = batch
        trained = self.trained_variables()
        parts = self.step_options.accumulate_steps
        layers: list[Any] = []

        def losses_of(values: list[Tensor]) -> tuple[Tensor, Any]:
            scope = keras.StatelessScope()
            scope.state_mapping = self._scope.state_mapping | dict(zip(map(id, trained), values, strict=True))
            with scope, collected_statistics() as statistics:
                outputs = self(images, training=True, seed=seed)
                losses = self.loss_terms(outputs, Targets(*targets), normalizer, parts=parts)
                scaled = self._scaled(losses["loss"])
            # Layers are no arrays, and may not leave a traced function.
            layers[:] = [layer for layer, *_ in statistics]
            return scaled, (losses, [seen for _, *seen in statistics])

        gradients, (losses, seen) = jax.grad(losses_of, has_aux=True)([variable.value for variable in trained])
        return gradients, losses, [Statistics(layer, *each) for layer, each in zip(layers, seen, strict=True)]

    def loop(self, times: int, body: Callable[[Tensor, Any], Any], start: Any) -> Any:
        """Returns what `body` makes of `start` when it is called again and again."""
        return jax.lax.fori_loop(0, times, body, start)

    def change_if(self, is_good: Tensor, change: Callable[[], None]) -> None:
        """Lets `change` change variables where the step is good."""
        values = self._scope.state_mapping
        before = dict(values)
        change()
        for key, old in before.items():
            if values[key] is not old and key != id(self.optimizer.iterations):
                values[key] = jnp.where(is_good, values[key], old)

    def sync(self) -> None:
        """Puts the state that Keras carries through an epoch into the variables; Keras takes it up again."""
        self.jax_state_sync()
