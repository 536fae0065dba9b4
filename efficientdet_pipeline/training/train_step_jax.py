"""Train step on JAX, with the devices and processes of `keras.distribution`."""

from collections.abc import Callable

import jax
import keras
from efficientdet.layers import BatchNormalization, Statistics, collected_statistics
from efficientdet.types import Tensor, TensorTree
from jax import numpy as jnp

from efficientdet_pipeline.training.gradient_accumulation import Result
from efficientdet_pipeline.training.train_step import TrainStepModel

State = tuple[list[Tensor], ...]


class TrainingModel(TrainStepModel):
    """Training model on JAX, in Keras's stateless form: a step maps state to state.

    A batch is a global array over all devices, so that sums, the normalizer and
    batch statistics are global too.
    """

    def train_step(self, state: State, data: tuple[Tensor, ...]) -> tuple[dict[str, Tensor], State]:
        """Runs one step; returns the running means and the new state."""
        images, truth, *_ = data
        groups = self._variables()
        pairs = [pair for group in zip(groups, state, strict=True) for pair in zip(*group, strict=True)]
        with keras.StatelessScope(pairs) as self._scope:
            logs = self.run_train_step(images, truth)
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

    def compute_gradients(self, batch: tuple[Tensor, TensorTree], normalizer: Tensor, seed: Tensor | None) -> Result:
        """Returns gradients, losses and batch statistics."""
        images, targets = batch
        trained = self.trained_variables()
        parts = self.step_options.accumulate_steps
        layers: list[BatchNormalization] = []

        def losses_of(values: list[Tensor]) -> tuple[Tensor, TensorTree]:
            scope = keras.StatelessScope()
            scope.state_mapping = self._scope.state_mapping | dict(zip(map(id, trained), values, strict=True))
            with scope, collected_statistics() as statistics:
                outputs = self(images, training=True, seed=seed)
                losses = self.loss_terms(outputs, targets, normalizer, parts=parts)
                scaled = self._scale_loss(losses["loss"])
            # Layers are not arrays, and cannot be returned from a traced function.
            layers[:] = [layer for layer, *_ in statistics]
            return scaled, (losses, [seen for _, *seen in statistics])

        gradients, (losses, seen) = jax.grad(losses_of, has_aux=True)([variable.value for variable in trained])
        return gradients, losses, [Statistics(layer, *each) for layer, each in zip(layers, seen, strict=True)]

    def fori_loop(self, times: int, body: Callable[[Tensor, TensorTree], TensorTree], start: TensorTree) -> TensorTree:
        """Returns the result of `times` sequential calls of `body`."""
        return jax.lax.fori_loop(0, times, body, start)

    def apply_if_finite(self, is_finite: Tensor, update: Callable[[], None]) -> None:
        """Calls `update`; keeps the old values unless the step is finite."""
        values = self._scope.state_mapping
        before = dict(values)
        update()
        for key, old in before.items():
            if values[key] is not old and key != id(self.optimizer.iterations):
                values[key] = jnp.where(is_finite, values[key], old)

    def sync(self) -> None:
        """Copies the state that Keras carries through an epoch into the variables."""
        self.jax_state_sync()
