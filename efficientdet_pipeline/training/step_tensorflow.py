"""The training step on TensorFlow: Keras's, with the average behind it."""

import contextlib
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from efficientdet.learner import Learner

from efficientdet_pipeline.training.averaging import WeightAverage


class TrainingModel(Learner):
    """A learner whose step also moves the average of the weights."""

    average: WeightAverage | None = None
    frozen: frozenset[str] = frozenset()
    """Paths of the variables that are not trained."""

    schedule: Callable[[Any], Any] | None = None
    """Step → learning rate."""

    def last_learning_rate(self) -> float:
        """Returns the learning rate of the step that was taken last."""
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
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        step = tf.identity(self.optimizer.iterations.value)
        self.optimizer.apply(gradients, variables)
        if self.average is not None:
            self.average.update(step)
        return self.get_metrics_result()
