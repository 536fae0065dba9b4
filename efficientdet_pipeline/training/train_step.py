"""What a run adds to the learner, on every backend: how a step is taken, and what it leaves alone when it is bad."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from efficientdet.assigners import assign_targets
from efficientdet.config import DetectorConfig
from efficientdet.layers import BatchNormalization, Statistics, move_statistics
from efficientdet.losses import LossOptions
from efficientdet.training_model import DetectorTrainingModel
from efficientdet.types import GroundTruth, Targets, Tensor
from keras import ops

from efficientdet_pipeline.training.ema import ExponentialMovingAverage
from efficientdet_pipeline.training.gradient_accumulation import Result, accumulate_gradients
from efficientdet_pipeline.training.optimizers import clip_gradients, gradient_norms

STEPS_AT_SCALE = 2000
"""Steps without overflow after which a loss scale is doubled."""


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """How a step is taken."""

    clip_norm: float = 0.0
    """Largest norm of each gradient, then of all together; 0 does not clip."""
    accumulate_steps: int = 1
    """Parts that a batch is computed in."""
    positives_momentum: float = 0.0
    """Of the moving average of the number of positives, which losses are divided by; 0 takes the batch's own."""
    loss_scale: float = 0.0
    """What the loss is first multiplied by, so that small gradients are no zeros in float16; 0 leaves it alone."""


class TrainStepModel(DetectorTrainingModel):
    """A learner that clips twice, averages its weights and takes no bad step.

    A step is bad where its loss or the length of its gradient is not finite.
    Weights, slots, average, batch statistics and running means are then left as
    they were; `optimizer.iterations` goes on, for it is the place in the data.
    Where the loss is scaled, gradients that overflow are no bad step yet: the
    scale is halved, down to 1.

    A backend's own page says how to differentiate, and how to leave a step:
    `train_step_tf` and `train_step_jax`.
    """

    def __init__(self, detector: keras.Model, config: DetectorConfig, loss: LossOptions, step: StepOptions):
        super().__init__(detector, config, loss)
        self.step_options = step
        self.average: ExponentialMovingAverage | None = None
        self.frozen: frozenset[str] = frozenset()
        """Paths of the variables that are not trained."""
        self.schedule: Callable[[Any], Any] | None = None
        """Step → learning rate."""
        self.callbacks: list[keras.callbacks.Callback] = []
        """What `fit` must be given for this model."""
        self.trackers["gradient_norm"] = keras.metrics.Mean(name="gradient_norm")
        self.run_variables: dict[str, keras.Variable] = {
            "bad_steps": _run_variable("bad_steps", 0, "int32"),
            "bad_steps_total": _run_variable("bad_steps_total", 0, "int32"),
            "learning_rate_factor": _run_variable("learning_rate_factor", 1.0, "float32"),
        }
        """State of the run beside weights, slots, average and running means."""
        if step.positives_momentum > 0:
            self.run_variables["moving_positives"] = _run_variable("moving_positives", 0.0, "float32")
        if step.loss_scale:
            self.run_variables["loss_scale"] = _run_variable("loss_scale", step.loss_scale, "float32")
            self.run_variables["steps_at_scale"] = _run_variable("steps_at_scale", 0, "int32")

    @property
    def bad_steps(self) -> keras.Variable:
        """Bad steps in a row, up to now."""
        return self.run_variables["bad_steps"]

    @property
    def bad_steps_total(self) -> keras.Variable:
        """Bad steps since the run began."""
        return self.run_variables["bad_steps_total"]

    @property
    def learning_rate_factor(self) -> keras.Variable:
        """What the schedule's learning rate is multiplied by; 1 unless the run was found to diverge."""
        return self.run_variables["learning_rate_factor"]

    def last_learning_rate(self) -> float:
        """Returns the learning rate of the step that was taken last."""
        self.sync()
        if self.schedule is None:
            return float(ops.convert_to_numpy(self.optimizer.learning_rate))
        step = int(ops.convert_to_numpy(self.optimizer.iterations))
        return float(ops.convert_to_numpy(self.schedule(max(0, step - 1))))

    def trained_variables(self) -> list[keras.Variable]:
        """Returns the variables that gradients are applied to."""
        return [variable for variable in self.detector.trainable_variables if variable.path not in self.frozen]

    def keep_average(self, decay: float) -> None:
        """Begins a moving average of the detector's weights and batch statistics."""
        averaged = [variable for variable in self.detector.variables if "float" in variable.dtype]
        self.average = ExponentialMovingAverage(averaged, decay)
        # Keras looks after the variables that it finds in an attribute.
        self.average_variables = self.average.shadows

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Returns a context in which the detector's variables hold their averages."""
        self.sync()
        return self.average.in_place() if self.average is not None else contextlib.nullcontext()

    def sync(self) -> None:
        """Puts the state into the variables, where a backend keeps it elsewhere during an epoch."""

    def take_step(self, images: Tensor, truth: GroundTruth) -> dict[str, Tensor]:
        """Takes one step, or leaves it if it is bad.

        Returns:
          The running means, bad steps in a row, and the loss of this very step.
        """
        targets = assign_targets(self.anchors, truth)
        normalizer = self.normalizer(targets)
        gradients, losses, statistics = self._gradients(images, targets, normalizer)
        # The loss is no gradient, but crosses the devices with them.
        *gradients, loss = self.sum_over_devices([*gradients, losses["loss"]])
        scale = self.run_variables.get("loss_scale")
        if scale is not None:
            gradients = [gradient / scale.value for gradient in gradients]
        norms = gradient_norms(gradients)
        norm = ops.sqrt(ops.sum(ops.square(norms)))
        losses["gradient_norm"] = norm / self.num_devices
        if self.step_options.clip_norm > 0:
            gradients = clip_gradients(gradients, self.step_options.clip_norm, norms)
        if self.num_devices > 1:
            # Keras sums what the devices apply, and each has the whole sum already: it was clipped as one.
            gradients = [gradient / self.num_devices for gradient in gradients]
        is_good = ops.logical_and(ops.isfinite(norm), ops.isfinite(loss))
        self.change_if(is_good, lambda: self._change(gradients, losses, statistics, normalizer))
        bad_steps = self._count(is_good, is_overflow=self._rescale(is_good, loss))
        return {**self.get_metrics_result(), "bad_steps": bad_steps, "step_loss": loss}

    def normalizer(self, targets: Targets) -> Tensor:
        """Returns what the sums over a batch are divided by."""
        own = super().normalizer(targets)
        if "moving_positives" not in self.run_variables:
            return own
        moving = self.run_variables["moving_positives"].value
        momentum = self.step_options.positives_momentum
        # automl begins at zero, so that the first losses are divided by next to nothing.
        return 1.0 + ops.where(moving > 0.0, momentum * moving + (1.0 - momentum) * (own - 1.0), own - 1.0)

    def _gradients(self, images: Tensor, targets: Targets, normalizer: Tensor) -> Result:
        seed = self.detector.next_drop_path_seed()
        parts = self.step_options.accumulate_steps
        if parts == 1:
            return self.differentiate((images, targets), normalizer, seed)

        def of_part(part: Any, number: Tensor) -> Result:
            place = ops.stack([ops.cast(value, "uint32") for value in (number, parts)])
            part_seed = None if seed is None else ops.concatenate([ops.cast(seed, "uint32"), place])
            return self.differentiate(part, normalizer, part_seed)

        layers = [layer for layer in self.detector._flatten_layers() if isinstance(layer, BatchNormalization)]
        names = [name for name in self.trackers if name != "gradient_norm"]
        like = self.trained_variables(), names, layers
        return accumulate_gradients(of_part, (images, targets), parts=parts, loop=self.loop, like=like)

    def differentiate(self, batch: tuple[Tensor, Targets], normalizer: Tensor, seed: Tensor | None) -> Result:
        """Returns gradients of `trained_variables`, losses by name, and what the layers saw; changes nothing."""
        raise TypeError(_NO_BACKEND)

    def change_if(self, is_good: Tensor, change: Callable[[], None]) -> None:
        """Lets `change` change variables where the step is good; counts the step in any case."""
        raise TypeError(_NO_BACKEND)

    def loop(self, times: int, body: Callable[[Tensor, Any], Any], start: Any) -> Any:
        """Returns what `body` (number, values) makes of `start` when it is called again and again."""
        raise TypeError(_NO_BACKEND)

    def _scaled(self, loss: Tensor) -> Tensor:
        scale = self.run_variables.get("loss_scale")
        return loss if scale is None else loss * scale.value

    def _change(
        self,
        gradients: Sequence[Tensor],
        losses: dict[str, Tensor],
        statistics: Sequence[Statistics],
        normalizer: Tensor,
    ) -> None:
        step = ops.copy(self.optimizer.iterations.value)
        move_statistics(statistics)
        self.optimizer.apply(gradients, self.trained_variables())
        if self.average is not None:
            self.average.update(step)
        if "moving_positives" in self.run_variables:
            self.run_variables["moving_positives"].assign(normalizer - 1.0)
        self.track(losses)

    def _rescale(self, is_good: Tensor, loss: Tensor) -> Tensor | bool:
        """Moves the loss scale after a step; returns whether it was bad for being scaled too high."""
        if "loss_scale" not in self.run_variables:
            return False
        scale, steps = self.run_variables["loss_scale"], self.run_variables["steps_at_scale"]
        is_overflow = ops.logical_and(ops.isfinite(loss), ops.logical_not(is_good)) & (scale.value > 1.0)
        is_due = ops.logical_and(is_good, steps.value + 1 >= STEPS_AT_SCALE)
        factor = ops.where(is_overflow, 0.5, ops.where(is_due, 2.0, 1.0))
        steps.assign(ops.where(ops.logical_or(is_overflow, is_due), 0, steps.value + ops.cast(is_good, "int32")))
        scale.assign(ops.maximum(scale.value * factor, 1.0))
        return is_overflow

    def _count(self, is_good: Tensor, *, is_overflow: Tensor | bool) -> Tensor:
        """Counts bad steps; returns those in a row."""
        bad = 1 - ops.cast(ops.logical_or(is_good, is_overflow), "int32")
        in_a_row = (self.bad_steps.value + bad) * bad
        self.bad_steps.assign(in_a_row)
        self.bad_steps_total.assign(self.bad_steps_total.value + bad)
        return ops.cast(in_a_row, "float32")


_NO_BACKEND = "A RunLearner must be one of a backend. Received the class itself; build it by build_training_model."


def _run_variable(name: str, value: float, dtype: str) -> keras.Variable:
    return keras.Variable(value, trainable=False, dtype=dtype, aggregation="only_first_replica", name=name)
