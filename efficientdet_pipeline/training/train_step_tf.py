"""Train step on TensorFlow, with the devices of a `tf.distribute` strategy."""

from collections.abc import Callable

import tensorflow as tf
from efficientdet.layers import collected_statistics
from efficientdet.types import TensorTree

from efficientdet_pipeline.training.gradient_accumulation import Result
from efficientdet_pipeline.training.train_step import TrainStepModel


class TrainingModel(TrainStepModel):
    """Training model on TensorFlow; steps on several devices equal those on one."""

    def train_step(self, data: tuple[tf.Tensor, TensorTree]) -> dict[str, tf.Tensor]:
        """Runs one step and returns the running means."""
        images, truth = data
        return self.run_train_step(images, truth)

    def compute_gradients(
        self, batch: tuple[tf.Tensor, TensorTree], normalizer: tf.Tensor, seed: tf.Tensor | None
    ) -> Result:
        """Returns gradients, losses and batch statistics."""
        images, targets = batch
        parts = self.step_options.accumulate_steps
        variables = [variable.value for variable in self.trained_variables()]
        with tf.GradientTape() as tape, collected_statistics() as statistics:
            outputs = self(images, training=True, seed=seed)
            losses = self.loss_terms(outputs, targets, normalizer, parts=parts)
            scaled = self._scale_loss(losses["loss"])
        # Unused backbone levels would have gradients None, of which keras.optimizers warn.
        return tape.gradient(scaled, variables, unconnected_gradients="zero"), losses, statistics

    def fori_loop(
        self, times: int, body: Callable[[tf.Tensor, TensorTree], TensorTree], start: TensorTree
    ) -> TensorTree:
        """Returns the result of `times` sequential calls of `body`."""

        def once(number: tf.Tensor, values: TensorTree) -> tuple[tf.Tensor, TensorTree]:
            return number + 1, body(number, values)

        # Parallel iterations would multiply the memory.
        return tf.while_loop(lambda number, _: number < times, once, (tf.constant(0), start), parallel_iterations=1)[1]

    def apply_if_finite(self, is_finite: tf.Tensor, update: Callable[[], None]) -> None:
        """Calls `update` if the step is finite."""

        def apply() -> tf.Tensor:
            update()
            return tf.constant(True)

        def skip() -> tf.Tensor:
            self.optimizer.iterations.assign_add(1)
            return tf.constant(False)

        if self.num_devices == 1:
            tf.cond(is_finite, apply, skip)
            return
        # Devices cannot synchronize inside a branch: the update is applied, and reverted if the step is bad.
        variables = self._variables_to_restore()
        before = [tf.identity(variable) for variable in variables]
        update()

        def restore(strategy: tf.distribute.Strategy, is_finite: tf.Tensor, before: list[tf.Tensor]) -> None:
            for variable, value in zip(variables, before, strict=True):
                strategy.extended.update(
                    variable, lambda v, ok, old: v.assign(tf.where(ok, v, old)), args=(is_finite, value), group=False
                )

        tf.distribute.get_replica_context().merge_call(restore, args=(is_finite, before))

    def _variables_to_restore(self) -> list[tf.Variable]:
        of_optimizer = [variable for variable in self.optimizer.variables if variable is not self.optimizer.iterations]
        statistics = [variable for variable in self.network.non_trainable_variables if "float" in variable.dtype]
        of_hooks = [variable for hook in self.step_hooks for variable in hook.state]
        of_trackers = [variable for tracker in self.metrics for variable in tracker.variables]
        variables = [*self.trained_variables(), *of_optimizer, *statistics, *of_hooks, *of_trackers]
        return [variable.value for variable in variables]

    @property
    def num_devices(self) -> int:
        """Devices that share a batch."""
        return tf.distribute.get_strategy().num_replicas_in_sync

    def sum_over_devices(self, values: TensorTree) -> TensorTree:
        """Returns the sum of each device's values, on every device."""
        if self.num_devices == 1:
            return values
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)
