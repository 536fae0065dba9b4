"""Keeps a run: saves it, evaluates it, remembers the best, and stops it when asked."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from efficientdet_pipeline.training import checkpoints
from efficientdet_pipeline.training.results import Results, Scalars
from efficientdet_pipeline.training.state import restore_state, state_arrays
from efficientdet_pipeline.training.step_tensorflow import TrainingModel
from efficientdet_pipeline.training.stopping import StopRequest

# A kill costs at most this much work, and saving at most a twentieth of the time.
SAVE_SECONDS = 30.0
SAVE_SHARE = 20.0
_PROFILED_STEPS = (10, 12)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The shape of a run."""

    num_epochs: int
    steps_per_epoch: int
    batch_size: int
    evaluate_every: int
    """Epochs; the last one is evaluated too."""

    @property
    def num_steps(self) -> int:
        """Steps of the whole run."""
        return self.num_epochs * self.steps_per_epoch


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a run keeps what it makes."""

    last: Path
    best: Path
    results: Path
    tensorboard: Path


class Keeper(keras.callbacks.Callback):
    """Saves, evaluates and stops; `evaluate` returns metrics and is given the averaged model."""

    def __init__(
        self,
        plan: Plan,
        places: Places,
        *,
        evaluate: Callable[[int], dict[str, Any]] | None,
        write_network: Callable[[Path], None],
        profile: bool = False,
    ):
        super().__init__()
        self.plan, self.places, self.evaluate, self.write_network = plan, places, evaluate, write_network
        self.stop = StopRequest()
        self.step = 0
        self.best_ap: float | None = None
        self.profile = profile
        self._results = Results(places.results)
        self._scalars = Scalars(places.tensorboard)
        self._metric_state: dict[str, Any] = {}
        self._evaluation_due = False
        self._saved_at = self._epoch_began = time.monotonic()
        self._save_seconds = 0.0

    def restore(self, model: TrainingModel) -> int:
        """Puts the last checkpoint into the model and returns the step to go on from, 0 without one."""
        self.set_model(model)
        best = checkpoints.find_checkpoint(self.places.best)
        self.best_ap = checkpoints.read_marker(best)["AP"] if best else None
        last = checkpoints.find_checkpoint(self.places.last)
        if last is None:
            return 0
        arrays = checkpoints.read_arrays(last / checkpoints.STATE)
        restore_state(model, arrays)
        marker = checkpoints.read_marker(last)
        self.step = marker["step"]
        self._results.forget_from(self.step // self.plan.steps_per_epoch + 1)
        self._metric_state = {name: value for name, value in arrays.items() if name.startswith("metric/")}
        self._evaluation_due = marker["evaluation_due"]
        return self.step

    def catch_up(self) -> None:
        """Makes the evaluation that a stop at the end of an epoch had cut off."""
        if self._evaluation_due:
            epoch = self.step // self.plan.steps_per_epoch
            self._results.forget_from(epoch)
            # The losses' sums are those of the checkpoint: `fit` has not cleared them yet.
            self._close_epoch(epoch, {tracker.name: float(tracker.result()) for tracker in self.model.metrics})

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Puts back the losses' sums of an epoch that is continued; `fit` has just cleared them."""
        self._epoch_began = time.monotonic()
        if self._metric_state and self.step % self.plan.steps_per_epoch:
            for tracker in self.model.metrics:
                for index, variable in enumerate(tracker.variables):
                    variable.assign(self._metric_state[f"metric/{tracker.name}/{index}"])
        self._metric_state = {}

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts the step, saves where it is time, stops where it was asked for."""
        before, self.step = self.step, int(self.model.optimizer.iterations.numpy())
        if self.profile:
            self._profile(before)
        ends_epoch = self.step % self.plan.steps_per_epoch == 0
        if self.stop:
            self._evaluation_due = ends_epoch and self._is_evaluated(self.step // self.plan.steps_per_epoch)
            self.save()
            self.model.stop_training = True
        elif not ends_epoch and self._is_time_to_save():
            self.save()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluates, writes the row, saves."""
        if not self.stop:
            self._close_epoch(epoch + 1, logs or {})

    def save(self) -> None:
        """Writes the last checkpoint."""
        began = time.monotonic()
        facts = {
            "step": self.step,
            "epoch": self.step / self.plan.steps_per_epoch,
            "evaluation_due": self._evaluation_due,
        }
        arrays = state_arrays(self.model)
        writers = {
            **self._model_writers(),
            checkpoints.STATE: lambda path: checkpoints.write_arrays(path, arrays),
        }
        checkpoints.write_checkpoint(self.places.last, writers, facts)
        self._saved_at = time.monotonic()
        self._save_seconds = self._saved_at - began

    def _model_writers(self) -> dict[str, Callable[[Path], None]]:
        def write_weights(path: Path) -> None:
            with self.model.averaged():
                self.model.detector.save_weights(path)

        return {checkpoints.WEIGHTS: write_weights, checkpoints.NETWORK: self.write_network}

    def _close_epoch(self, epoch: int, logs: dict[str, Any]) -> None:
        """Ends epoch number `epoch` (1-based)."""
        row: dict[str, Any] = {"epoch": epoch, "step": self.step, "seconds": time.monotonic() - self._epoch_began}
        row |= {name: float(value) for name, value in logs.items()}
        row["learning_rate"] = self.model.last_learning_rate()
        self._scalars.write({f"train/{name}": value for name, value in row.items() if name != "epoch"}, step=self.step)
        if self._is_evaluated(epoch):
            row |= self._evaluate(epoch)
        self._results.add(row)
        self._evaluation_due = False
        if self._is_time_to_save() or self._is_evaluated(epoch) or epoch == self.plan.num_epochs:
            self.save()

    def _evaluate(self, epoch: int) -> dict[str, Any]:
        with self.model.averaged():
            metrics = self.evaluate(epoch)  # type: ignore[misc] # `_is_evaluated` has looked
        numbers = {name: value for name, value in metrics.items() if not isinstance(value, dict)}
        per_class = {f"AP_/{name}": value for name, value in metrics["per_class"].items()}
        self._scalars.write({f"eval/{name}": value for name, value in (numbers | per_class).items()}, step=self.step)
        if self.best_ap is None or metrics["AP"] > self.best_ap:
            self.best_ap = metrics["AP"]
            facts = {"step": self.step, "epoch": epoch, "AP": metrics["AP"], "metrics": metrics}
            checkpoints.write_checkpoint(self.places.best, self._model_writers(), facts)
            logging.info("epoch %d is the best so far: AP %.3f.", epoch, metrics["AP"])
        return numbers

    def _is_evaluated(self, epoch: int) -> bool:
        is_due = epoch % self.plan.evaluate_every == 0 or epoch == self.plan.num_epochs
        return self.evaluate is not None and is_due

    def _is_time_to_save(self) -> bool:
        return time.monotonic() - self._saved_at > max(SAVE_SECONDS, SAVE_SHARE * self._save_seconds)

    def _profile(self, before: int) -> None:
        first, last = _PROFILED_STEPS
        if before < first <= self.step:
            tf.profiler.experimental.start(str(self.places.tensorboard))
        elif before < last <= self.step:
            tf.profiler.experimental.stop()
