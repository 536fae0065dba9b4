"""The training step on TensorFlow: Keras's, with clipping before the optimizer and the average behind it."""

import contextlib
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from efficientdet.learner import Learner

from efficientdet_pipeline.training.averaging import WeightAverage
from efficientdet_pipeline.training.optimizers import clip_twice


class TrainingModel(Learner):
    """A learner whose step clips twice and moves the average of the weights; on several devices, as if on one."""

    average: WeightAverage | None = None
    frozen: frozenset[str] = frozenset()
    """Paths of the variables that are not trained."""

    clip_norm: float = 0.0
    schedule: Callable[[Any], Any] | None = None
    """Step → learning rate."""

    def last_learning_rate(self) -> float:
        """Returns the learning rate of the step that was taken last."""
        if self.schedule is None:
            return float(self.optimizer.learning_rate)
        return float(self.schedule(max(0, int(self.optimizer.iterations.numpy()) - 1)))

    def trained_variables(self) -> list[Any]:
        """Returns the variables that gradients are applied to."""
        return [variable for variable in self.trainable_variables if variable.path not in self.frozen]

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Returns a context in which the detector's variables hold their averages."""
        return self.average.in_place() if self.average is not None else contextlib.nullcontext()

    def train_step(self, data: Any) -> dict[str, Any]:
        """Takes one step and returns the running means of the losses."""
        images, truth = data
        variables = self.trained_variables()
        with tf.GradientTape() as tape:
            outputs = self(images, training=True)
            loss = self.compute_loss(images, truth, outputs)
        gradients = self.sum_over_devices(tape.gradient(loss, [variable.value for variable in variables]))
        if self.clip_norm > 0:
            gradients = clip_twice(gradients, self.clip_norm)
        if self.num_devices > 1:
            # Keras sums what the devices apply, and each has the whole sum already: it was clipped as one.
            gradients = [gradient / self.num_devices for gradient in gradients]
        step = tf.identity(self.optimizer.iterations.value)
        self.optimizer.apply(gradients, variables)
        if self.average is not None:
            self.average.update(step)
        return self.get_metrics_result()

    @property
    def num_devices(self) -> int:
        """Devices that share a batch."""
        return tf.distribute.get_strategy().num_replicas_in_sync

    def sum_over_devices(self, values: Any) -> Any:
        """Returns the sum of each device's values, on every device."""
        if self.num_devices == 1:
            return values
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)
