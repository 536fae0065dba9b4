"""The training step on TensorFlow; devices are those of a `tf.distribute` strategy."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from efficientdet.layers import collected_statistics
from efficientdet.types import GroundTruth, Targets

from efficientdet_pipeline.training.gradient_accumulation import Result
from efficientdet_pipeline.training.train_step import TrainStepModel


class TrainingModel(TrainStepModel):
    """A run's learner whose gradients come from a tape; on several devices, as if on one."""

    def train_step(self, data: Any) -> dict[str, Any]:
        """Takes one step and returns the running means."""
        images, truth = data
        return self.take_step(images, GroundTruth(*truth))

    def differentiate(self, batch: tuple[tf.Tensor, Targets], normalizer: tf.Tensor, seed: tf.Tensor | None) -> Result:
        """Returns gradients, losses and batch statistics."""
        images, targets = batch
        parts = self.step_options.accumulate_steps
        variables = [variable.value for variable in self.trained_variables()]
        with tf.GradientTape() as tape, collected_statistics() as statistics:
            outputs = self(images, training=True, seed=seed)
            losses = self.loss_terms(outputs, Targets(*targets), normalizer, parts=parts)
            scaled = self._scaled(losses["loss"])
        # A network may leave levels of its backbone unused, and keras.optimizers warn of gradients that are None.
        return tape.gradient(scaled, variables, unconnected_gradients="zero"), losses, statistics

    def loop(self, times: int, body: Callable[[tf.Tensor, Any], Any], start: Any) -> Any:
        """Returns what `body` makes of `start` when it is called again and again."""

        def once(number: tf.Tensor, values: Any) -> tuple[tf.Tensor, Any]:
            return number + 1, body(number, values)

        # Two at a time would take the memory of two.
        return tf.while_loop(lambda number, _: number < times, once, (tf.constant(0), start), parallel_iterations=1)[1]

    def change_if(self, is_good: tf.Tensor, change: Callable[[], None]) -> None:
        """Lets `change` change variables where the step is good."""

        def take() -> tf.Tensor:
            change()
            return tf.constant(True)

        def leave() -> tf.Tensor:
            self.optimizer.iterations.assign_add(1)
            return tf.constant(False)

        if self.num_devices == 1:
            tf.cond(is_good, take, leave)
            return
        # Devices cannot meet inside a branch: the step is taken, and taken back where it was bad.
        changed = self._changed_by_a_step()
        before = [tf.identity(variable) for variable in changed]
        change()

        def take_back(strategy: tf.distribute.Strategy, is_good: Any, before: list[Any]) -> None:
            for variable, value in zip(changed, before, strict=True):
                strategy.extended.update(
                    variable, lambda v, ok, old: v.assign(tf.where(ok, v, old)), args=(is_good, value), group=False
                )

        tf.distribute.get_replica_context().merge_call(take_back, args=(is_good, before))

    def _changed_by_a_step(self) -> list[tf.Variable]:
        of_optimizer = [variable for variable in self.optimizer.variables if variable is not self.optimizer.iterations]
        statistics = [variable for variable in self.detector.non_trainable_variables if "float" in variable.dtype]
        average = self.average.shadows if self.average is not None else []
        of_trackers = [variable for tracker in self.metrics for variable in tracker.variables]
        variables = [*self.trained_variables(), *of_optimizer, *statistics, *average, *of_trackers]
        return [variable.value for variable in variables]

    @property
    def num_devices(self) -> int:
        """Devices that share a batch."""
        return tf.distribute.get_strategy().num_replicas_in_sync

    def sum_over_devices(self, values: Any) -> Any:
        """Returns the sum of each device's values, on every device."""
        if self.num_devices == 1:
            return values
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)
