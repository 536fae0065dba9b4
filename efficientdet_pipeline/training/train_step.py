"""Train step on every backend: gradient clipping, EMA, loss scaling, and skipping of non-finite steps."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import keras
import numpy as np
from efficientdet.layers import BatchNormalization, Statistics, move_statistics
from efficientdet.training_model import Objective, TrainingModel
from efficientdet.types import Tensor, TensorTree
from keras import ops

from efficientdet_pipeline.training.ema import ExponentialMovingAverage
from efficientdet_pipeline.training.gradient_accumulation import Result, accumulate_gradients
from efficientdet_pipeline.training.optimizers import clip_gradients, gradient_norms

LOSS_SCALE_GROWTH_STEPS = 2000
"""Steps without overflow after which the loss scale is doubled."""


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """Options of the train step."""

    clip_norm: float = 0.0
    """Maximum norm of each gradient, then global maximum norm; 0: no clipping."""
    accumulate_steps: int = 1
    """Gradient accumulation: number of parts of a batch."""
    positives_momentum: float = 0.0
    """Momentum of the moving number of positives, the loss normalizer; 0: the number in the batch."""
    loss_scale: float = 0.0
    """Initial loss scale, so that small gradients do not underflow in float16; 0: no scaling."""


class StepHook(Protocol):
    """Operation on the weights after each finite step, such as averaging or masking."""

    @property
    def state(self) -> Sequence[keras.Variable]:
        """Its own variables: saved with the run, and unchanged by a bad step."""

    def update(self, step: Tensor) -> None:
        """Called after the update of step number `step` (0-based)."""


class CheckpointFile(Protocol):
    """One more file of a run's checkpoints."""

    def write(self, path: Path, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes it from the arrays of `train_state.state_arrays`, while training continues."""


class TrainStepModel(TrainingModel):
    """Training model that clips gradients, maintains an EMA and skips bad steps.

    A step is bad if its loss or gradient norm is not finite. Weights, slots, EMA,
    batch statistics and running means then stay unchanged;
    `optimizer.iterations` advances, because it is the position in the data.
    With loss scaling, gradients that overflow do not make a bad step: the scale
    is halved, dpositives to 1.

    The backend modules `train_step_tf` and `train_step_jax` compute gradients
    and apply updates conditionally.
    """

    def __init__(self, network: keras.Model, objective: Objective, step: StepOptions, *, weight_decay: float = 0.0):
        super().__init__(network, objective, weight_decay=weight_decay)
        self.step_options = step
        self.ema: ExponentialMovingAverage | None = None
        self.step_hooks: list[StepHook] = []
        """Called in this order after each finite step."""
        self.frozen: frozenset[str] = frozenset()
        """Paths of frozen variables."""
        self.schedule: Callable[[Tensor], Tensor] | None = None
        """Step → learning rate."""
        self.callbacks: list[keras.callbacks.Callback] = []
        """Callbacks that `fit` needs for this model."""
        self.epoch_values: list[Callable[[], Mapping[str, float]]] = []
        """→ values that TensorBoard shows after each epoch, by name."""
        self.best_from_step = 0
        """Number of steps before which no checkpoint is the best: the weights are not yet what was asked for."""
        self.checkpoint_files: dict[str, CheckpointFile] = {}
        """Further files of checkpoints, by name."""
        self.after_loading: list[Callable[[Path], None]] = []
        """Called with the folder of a checkpoint whose weights were loaded into the network, after the training."""
        self.changed_weights: list[
            Callable[[Mapping[str, np.ndarray], Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
        ]
        self.changed_weights = []
        """(weights, all arrays of a state) → the weights that are written differently, by path."""
        self.more_trained: list[keras.Variable] = []
        """Trained variables beside the network's."""
        self.forward: keras.Model | None = None
        """What computes the network in another way, for example with rounded weights; it is evaluated as well."""
        self.trackers["gradient_norm"] = keras.metrics.Mean(name="gradient_norm")
        self.run_variables: dict[str, keras.Variable] = {
            "bad_steps": _run_variable("bad_steps", 0, "int32"),
            "bad_steps_total": _run_variable("bad_steps_total", 0, "int32"),
            "learning_rate_factor": _run_variable("learning_rate_factor", 1.0, "float32"),
        }
        """State of the run other than weights, slots, EMA and running means."""
        if step.positives_momentum > 0:
            self.run_variables["moving_positives"] = _run_variable("moving_positives", 0.0, "float32")
        if step.loss_scale:
            self.run_variables["loss_scale"] = _run_variable("loss_scale", step.loss_scale, "float32")
            self.run_variables["steps_at_scale"] = _run_variable("steps_at_scale", 0, "int32")

    @property
    def bad_steps(self) -> keras.Variable:
        """Number of consecutive bad steps."""
        return self.run_variables["bad_steps"]

    @property
    def bad_steps_total(self) -> keras.Variable:
        """Number of bad steps in the run."""
        return self.run_variables["bad_steps_total"]

    @property
    def learning_rate_factor(self) -> keras.Variable:
        """Factor of the schedule's learning rate; below 1 after a divergence."""
        return self.run_variables["learning_rate_factor"]

    def last_learning_rate(self) -> float:
        """Returns the learning rate of the last step."""
        self.sync()
        if self.schedule is None:
            return float(ops.convert_to_numpy(self.optimizer.learning_rate))
        step = int(ops.convert_to_numpy(self.optimizer.iterations))
        return float(ops.convert_to_numpy(self.schedule(max(0, step - 1))))

    def call(self, images: Tensor, training: bool | None = None, seed: Tensor | None = None) -> TensorTree:
        """Returns the raw outputs of the network, or of `forward` if it is set."""
        return self.evaluated(images, training=bool(training), seed=seed)

    @property
    def evaluated(self) -> keras.Model:
        """The network as it is trained and evaluated."""
        return self.network if self.forward is None else self.forward

    def trained_variables(self) -> list[keras.Variable]:
        """Returns the variables that gradients are applied to."""
        network = [variable for variable in self.network.trainable_variables if variable.path not in self.frozen]
        return [*network, *self.more_trained]

    def enable_ema(self, decay: float) -> None:
        """Starts an EMA of the network's weights and batch statistics."""
        weights = [*self.network.variables, *self.more_trained]
        ema_weights = [variable for variable in weights if "float" in variable.dtype]
        self.ema = ExponentialMovingAverage(ema_weights, decay)
        self.add_step_hook(self.ema)

    def add_step_hook(self, hook: StepHook) -> None:
        """Adds a hook that is called after each finite step, after earlier hooks."""
        self.step_hooks.append(hook)
        # Keras tracks variables in an attribute.
        setattr(self, f"hook_variables_{len(self.step_hooks)}", list(hook.state))

    def ema_weights(self) -> contextlib.AbstractContextManager[None]:
        """Returns a context in which the network's variables hold their EMA values."""
        self.sync()
        return self.ema.swapped_in() if self.ema is not None else contextlib.nullcontext()

    def sync(self) -> None:
        """Copies the state into the variables, if the backend keeps it elsewhere during an epoch."""

    def run_train_step(self, images: Tensor, truth: TensorTree) -> dict[str, Tensor]:
        """Runs one train step; skips the update if the step is bad.

        Returns:
          The running means, the number of consecutive bad steps, and the loss of this step.
        """
        targets = self.objective.targets(truth)
        normalizer = self.normalizer(targets)
        gradients, losses, statistics = self._batch_gradients(images, targets, normalizer)
        # The loss is summed over devices together with the gradients.
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
            # Keras sums the updates over devices, but each already has the global, clipped sum.
            gradients = [gradient / self.num_devices for gradient in gradients]
        is_finite = ops.logical_and(ops.isfinite(norm), ops.isfinite(loss))
        self.apply_if_finite(is_finite, lambda: self._apply_update(gradients, losses, statistics, normalizer))
        bad_steps = self._count_bad_steps(is_finite, is_overflow=self._update_loss_scale(is_finite, loss))
        return {**self.get_metrics_result(), "bad_steps": bad_steps, "step_loss": loss}

    def normalizer(self, targets: TensorTree) -> Tensor:
        """Returns the loss normalizer of a batch."""
        positives = super().normalizer(targets)
        if "moving_positives" not in self.run_variables:
            return positives
        moving = self.run_variables["moving_positives"].value
        momentum = self.step_options.positives_momentum
        # Initialized with the first batch; automl starts at zero, which inflates the first losses.
        return 1.0 + ops.where(moving > 0.0, momentum * moving + (1.0 - momentum) * (positives - 1.0), positives - 1.0)

    def _batch_gradients(self, images: Tensor, targets: TensorTree, normalizer: Tensor) -> Result:
        seed = self.network.next_drop_path_seed()
        parts = self.step_options.accumulate_steps
        if parts == 1:
            return self.compute_gradients((images, targets), normalizer, seed)

        def of_part(part: tuple[Tensor, TensorTree], number: Tensor) -> Result:
            part_index = ops.stack([ops.cast(value, "uint32") for value in (number, parts)])
            part_seed = None if seed is None else ops.concatenate([ops.cast(seed, "uint32"), part_index])
            return self.compute_gradients(part, normalizer, part_seed)

        layers = [layer for layer in self.network._flatten_layers() if isinstance(layer, BatchNormalization)]
        names = [name for name in self.trackers if name != "gradient_norm"]
        like = self.trained_variables(), names, layers
        return accumulate_gradients(of_part, (images, targets), parts=parts, fori_loop=self.fori_loop, like=like)

    def compute_gradients(self, batch: tuple[Tensor, TensorTree], normalizer: Tensor, seed: Tensor | None) -> Result:
        """Returns gradients of `trained_variables`, losses by name, and batch statistics; changes no variable."""
        raise TypeError(_NO_BACKEND)

    def apply_if_finite(self, is_finite: Tensor, update: Callable[[], None]) -> None:
        """Calls `update` if the step is finite; advances the step count in any case."""
        raise TypeError(_NO_BACKEND)

    def fori_loop(self, times: int, body: Callable[[Tensor, TensorTree], TensorTree], start: TensorTree) -> TensorTree:
        """Returns the result of `times` sequential calls values = body(number, values)."""
        raise TypeError(_NO_BACKEND)

    def _scale_loss(self, loss: Tensor) -> Tensor:
        scale = self.run_variables.get("loss_scale")
        return loss if scale is None else loss * scale.value

    def _apply_update(
        self,
        gradients: Sequence[Tensor],
        losses: dict[str, Tensor],
        statistics: Sequence[Statistics],
        normalizer: Tensor,
    ) -> None:
        step = ops.copy(self.optimizer.iterations.value)
        move_statistics(statistics)
        self.optimizer.apply(gradients, self.trained_variables())
        for hook in self.step_hooks:
            hook.update(step)
        if "moving_positives" in self.run_variables:
            self.run_variables["moving_positives"].assign(normalizer - 1.0)
        self.track(losses)

    def _update_loss_scale(self, is_finite: Tensor, loss: Tensor) -> Tensor | bool:
        """Updates the loss scale after a step; returns whether the gradients overflowed."""
        if "loss_scale" not in self.run_variables:
            return False
        scale, steps = self.run_variables["loss_scale"], self.run_variables["steps_at_scale"]
        is_overflow = ops.logical_and(ops.isfinite(loss), ops.logical_not(is_finite)) & (scale.value > 1.0)
        is_due = ops.logical_and(is_finite, steps.value + 1 >= LOSS_SCALE_GROWTH_STEPS)
        factor = ops.where(is_overflow, 0.5, ops.where(is_due, 2.0, 1.0))
        steps.assign(ops.where(ops.logical_or(is_overflow, is_due), 0, steps.value + ops.cast(is_finite, "int32")))
        scale.assign(ops.maximum(scale.value * factor, 1.0))
        return is_overflow

    def _count_bad_steps(self, is_finite: Tensor, *, is_overflow: Tensor | bool) -> Tensor:
        """Counts bad steps; returns the consecutive ones."""
        bad = 1 - ops.cast(ops.logical_or(is_finite, is_overflow), "int32")
        consecutive = (self.bad_steps.value + bad) * bad
        self.bad_steps.assign(consecutive)
        self.bad_steps_total.assign(self.bad_steps_total.value + bad)
        return ops.cast(consecutive, "float32")


_NO_BACKEND = "TrainStepModel must be subclassed by a backend. Received the class itself; use build_training_model."


def _run_variable(name: str, value: float, dtype: str) -> keras.Variable:
    return keras.Variable(value, trainable=False, dtype=dtype, aggregation="only_first_replica", name=name)
