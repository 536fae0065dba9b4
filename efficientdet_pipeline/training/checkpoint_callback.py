"""Checkpoint and evaluation callback: saves, evaluates, tracks the best metric, stops early."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np
from absl import logging

from efficientdet_pipeline.data.image_descriptions import BatchImage
from efficientdet_pipeline.evaluation.metrics import Metrics
from efficientdet_pipeline.json_fields import Fields, integer_field, number_field
from efficientdet_pipeline.runs.checkpoint_listeners import checkpoint_written
from efficientdet_pipeline.tasks.task import LogLayout
from efficientdet_pipeline.training import checkpoint_io, divergence, train_state
from efficientdet_pipeline.training.checkpoint_io import AsyncWriter
from efficientdet_pipeline.training.divergence import LossSpikeLog
from efficientdet_pipeline.training.loggers import CSVLogger, TensorBoardLogger, draw_curves
from efficientdet_pipeline.training.run_config import RunConfig, RunPaths
from efficientdet_pipeline.training.signals import StopNow, StopRequest
from efficientdet_pipeline.training.strategy import is_chief, is_single_process
from efficientdet_pipeline.training.train_step import CheckpointFile, TrainStepModel


@dataclass
class BestMetric:
    """Best value of the primary metric so far, and evaluations since."""

    best_value: float | None = None
    best_epoch: float | None = None
    evaluations_since: int = 0
    """Evaluations after the best one, compared with patience."""

    @classmethod
    def from_marker(cls, marker: Fields, best: Path | None, primary: str) -> "BestMetric":
        """Returns the best metric at the time a checkpoint was written.

        Args:
          marker: content of the checkpoint's marker file.
          best: the best checkpoint on disk. It may be newer than the marker and is
            then found again; if it is lost, the next best replaces it.
          primary: name of the metric.
        """
        kept = checkpoint_io.read_marker(best) if best is not None else {}
        kept_value, kept_epoch = _optional(kept, primary), _optional(kept, "epoch")
        name = "best_value" if "best_value" in marker else "best_ap"  # Name in earlier versions: best_ap.
        if name not in marker:
            return cls(kept_value, kept_epoch)
        value = _optional(marker, name)
        if value is not None and value < 0:  # Earlier versions stored an undefined AP as the best.
            return cls()
        best_metric = cls(value, _optional(marker, "best_epoch"), integer_field(marker, "evaluations_since"))
        if value is not None and (kept_value is None or kept_value < value):
            best_metric.best_value, best_metric.best_epoch = kept_value, kept_epoch
        return best_metric

    def update(self, value: float, *, epoch: float) -> bool:
        """Records an evaluation and returns whether it is the best.

        An undefined value (-1, as in COCO) is neither the best nor counted by
        patience. On ties the earlier epoch stays the best, as in Keras's
        ModelCheckpoint; if all values are 0, the later epoch, which is trained for
        longer, replaces it. Neither resets patience.
        """
        if not value >= 0:
            return False
        is_better = self.best_value is None or value > self.best_value
        self.evaluations_since = 0 if is_better else self.evaluations_since + 1
        is_best = is_better or value == self.best_value == 0
        if is_best:
            self.best_value, self.best_epoch = value, epoch
        return is_best

    def as_dict(self) -> dict[str, object]:
        """Returns the fields for a checkpoint's marker."""
        return dict(vars(self))


def _optional(fields: Fields, name: str) -> float | None:
    return None if fields.get(name) is None else number_field(fields, name)


# A checkpoint is due after SAVE_SECONDS, later if writing is slow (so that it takes at most a twentieth of the time),
# but after MAX_SAVE_SECONDS at the latest: a killed run loses the training since then.
SAVE_SECONDS = 30.0
SAVE_SHARE = 20.0
MAX_SAVE_SECONDS = 300.0
DRAW_SECONDS = 60.0
MIN_VALUE_FOR_PATIENCE = 0.01
"""Early stopping is inactive while the best value is lower: the first third of a short run stays near 0."""
# Logs that are values of the last step, not means.
_OF_A_STEP = {"step_loss", "bad_steps"}


class CheckpointCallback(keras.callbacks.Callback):
    """Saves checkpoints, evaluates, and stops a run early.

    A save copies the state at the end of a step; a background thread writes the
    files from the copies.

    Args:
      layout: layout of the logs.
      evaluate: epoch number → metrics of the model with its EMA weights.
      write_network: writes the network's description to a path.
      draw: → images with the detections of the EMA weights, uint8 RGB.
      images_of: step number (1-based) → descriptions of its images, for a report.
    """

    def __init__(
        self,
        config: RunConfig,
        paths: RunPaths,
        *,
        layout: LogLayout,
        evaluate: Callable[[int], Metrics] | None,
        write_network: Callable[[Path], None],
        draw: Callable[[], Sequence[np.ndarray]] | None = None,
        images_of: Callable[[int], list[BatchImage]] | None = None,
    ):
        super().__init__()
        self.config, self.paths, self.evaluate, self.write_network = config, paths, evaluate, write_network
        self.draw, self.images_of, self.layout = draw, images_of, layout
        self.stop = StopRequest()
        self.step = 0
        self.best_metric = BestMetric()
        self.must_rewind = False
        """Whether there were too many consecutive bad steps, so that the run returns to an earlier checkpoint."""
        self.validation_loss: Callable[[], dict[str, float]] | None = None
        """→ losses of the EMA weights on validation images, by column; computed at each evaluation."""
        self.track: Callable[[Mapping[str, float]], None] | None = None
        """Called with each row of results.csv, for experiment trackers."""
        self._is_chief = is_chief()
        self._writer = AsyncWriter()
        self._csv_logger = CSVLogger(paths.results, layout.columns)
        self._tensorboard = TensorBoardLogger(paths.tensorboard)
        self._spike_log = LossSpikeLog(
            paths.incidents, batch_size=config.batch_size, steps_per_epoch=config.steps_per_epoch
        )
        self._running_sums: train_state.State = {}
        self._evaluation_due = False
        self._first_step = self._step_before = 0
        self._saved_at = self._epoch_began = self._drawn_at = time.monotonic()

    @property
    def is_done(self) -> bool:
        """Whether the run has reached its last step or stopped early."""
        return self.step >= self.config.num_steps or self.is_out_of_patience

    @property
    def is_out_of_patience(self) -> bool:
        """Whether early stopping applies; not while the best value is below MIN_VALUE_FOR_PATIENCE."""
        has_begun = (self.best_metric.best_value or 0.0) >= MIN_VALUE_FOR_PATIENCE
        return has_begun and 0 < self.config.patience <= self.best_metric.evaluations_since

    def restore(self, model: TrainStepModel) -> int:
        """Loads the last checkpoint into the model; returns the step to resume from, 0 without a checkpoint."""
        self.set_model(model)
        last = checkpoint_io.find_checkpoint(self.paths.last)
        if last is not None:
            self._load_state(checkpoint_io.read_arrays(last / checkpoint_io.STATE), checkpoint_io.read_marker(last))
        return self.step

    @contextlib.contextmanager
    def session(self, request: StopRequest) -> Iterator[None]:
        """Repeats an evaluation that a stop interrupted; waits for pending writes at the end."""
        self.stop = request
        if not self._is_chief:
            request.resumes_from = "The same command resumes from the last checkpoint, if one was written."
        self._set_resume_message(self.step)
        try:
            if self._evaluation_due:
                epoch = self.step // self.config.steps_per_epoch
                self._csv_logger.truncate_from_epoch(epoch)
                # The running sums are those of the checkpoint: `fit` has not reset them yet.
                self._close_epoch(epoch, {tracker.name: float(tracker.result()) for tracker in self.model.metrics})
            elif self._is_chief and self.is_done and self._csv_logger.rows:
                # The last evaluation of a run: the process was killed after everything else was written.
                draw_curves(self.paths.curves, self._csv_logger.columns(), self.layout)
            yield
        except BaseException:
            # Report the error of the training, not a later one of the writer.
            with contextlib.suppress(Exception):
                self._writer.wait()
            raise
        self._writer.wait()
        if self.is_out_of_patience and not request:
            self._log_early_stopping()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Restores the running sums of a resumed epoch; `fit` has just reset them."""
        self._epoch_began = time.monotonic()
        self._first_step = self.step
        if self.step % self.config.steps_per_epoch:
            train_state.restore_running_sums(self.model, self._running_sums)
        self._running_sums = {}

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Counts the step, saves if due, stops if requested."""
        self._step_before, self.step = self.step, self._first_step + batch + 1
        self.stop.is_building = False
        logs = logs or {}
        self._writer.check()
        if self._is_chief:
            self._spike_log.update(self.step, logs)
        if 0 < self.config.max_bad_steps <= logs.get("bad_steps", 0):
            self._rewind_or_fail(int(logs["bad_steps"]))
        elif self.step % self.config.steps_per_epoch and (self.stop or self._is_time_to_save()):
            self.save()
            self.model.stop_training = bool(self.stop)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Evaluates, logs the epoch, saves."""
        if self.step % self.config.steps_per_epoch == 0 and not self.must_rewind:
            self._close_epoch(epoch + 1, logs or {})

    def save(self, best: dict[str, object] | None = None) -> None:
        """Copies the state and writes the last checkpoint in the background; before it the best, if `best` is given."""
        if not self._is_chief:
            return
        self._writer.wait()
        # On JAX, access through `self.model` costs a copy; writing needs only the variables' names.
        model, arrays = self.model, train_state.state_arrays(self.model)
        step = self.step
        facts = {
            "step": step,
            "epoch": self.step / self.config.steps_per_epoch,
            "evaluation_due": self._evaluation_due,
            **self.best_metric.as_dict(),
        }
        curves = self._csv_logger.columns() if self._is_time_to_draw() else None

        def write() -> None:
            files: dict[str, Callable[[Path], None]] = {
                checkpoint_io.WEIGHTS: partial(train_state.write_weights, model, arrays),
                checkpoint_io.NETWORK: self.write_network,
            }
            files |= {name: partial(_write_extra, file, arrays) for name, file in model.checkpoint_files.items()}
            if best is not None:
                checkpoint_io.write_checkpoint(self.paths.best, files, best)
            files[checkpoint_io.STATE] = lambda path: checkpoint_io.write_arrays(path, arrays)
            checkpoint_io.write_checkpoint(self.paths.last, files, facts, keep=self.config.keep)
            checkpoint_written(self.paths.last)
            self._set_resume_message(step)
            if curves is not None:
                draw_curves(self.paths.curves, curves, self.layout)

        self._writer.submit(write)
        self._saved_at = time.monotonic()

    def rewind(self) -> None:
        """Restores the last checkpoint before the bad steps and halves the learning rate."""
        self.must_rewind = False
        self._writer.wait()
        bad_step, model = self.step, self.model
        # In a process group all have the weights from before the bad steps; only the chief can read the checkpoint.
        good = divergence.last_good(self.paths.last) if is_single_process() else None
        arrays, marker = good or (train_state.state_arrays(model), {"step": self.step, **self.best_metric.as_dict()})
        self._load_state(arrays, {**marker, "evaluation_due": False})
        divergence.halve_learning_rate(model)
        self.save()
        logging.warning(
            "%d consecutive steps up to step %d had non-finite losses or gradients. Resuming from step %d with half "
            "the "
            "learning rate.",
            self.config.max_bad_steps,
            bad_step,
            self.step,
        )

    def _load_state(self, arrays: train_state.State, marker: Fields) -> None:
        train_state.restore_state(self.model, arrays)
        self.step = integer_field(marker, "step")
        self._running_sums = arrays
        self._evaluation_due = bool(marker.get("evaluation_due"))
        self.best_metric = BestMetric.from_marker(
            marker, checkpoint_io.find_checkpoint(self.paths.best), self.layout.primary
        )
        self._csv_logger.truncate_from_epoch(self.step // self.config.steps_per_epoch + 1)
        self._spike_log.truncate_after_step(self.step)

    def _rewind_or_fail(self, in_a_row: int) -> None:
        if divergence.has_rewound(self.model):
            steps = range(self.step - in_a_row + 1, self.step + 1)
            raise divergence.bad_steps_error(self.model, steps, self.images_of, self.paths.bad_steps)
        self.must_rewind = True
        self.model.stop_training = True

    def _close_epoch(self, epoch: int, logs: dict[str, float]) -> None:
        """Ends epoch number `epoch` (1-based)."""
        if not self._is_chief:
            return
        row: dict[str, float] = {"epoch": epoch, "step": self.step, "seconds": time.monotonic() - self._epoch_began}
        row |= {name: float(value) for name, value in logs.items() if name not in _OF_A_STEP}
        row["learning_rate"] = self.model.last_learning_rate()
        row["bad_steps_total"] = int(keras.ops.convert_to_numpy(self.model.bad_steps_total))
        self._tensorboard.write(
            {f"train/{name}": value for name, value in row.items() if name != "epoch"}, step=self.step
        )
        for values in self.model.epoch_values:
            self._tensorboard.write({f"compression/{name}": value for name, value in values().items()}, step=self.step)
        best, is_evaluated = None, self._is_evaluated(epoch)
        if is_evaluated:
            try:
                metrics, losses = self._measure(epoch)
            except StopNow:
                self._evaluation_due = self.model.stop_training = True
                self.save()
                return
            row |= {**metrics.values, **losses}
            value = metrics.primary_value
            if self.step >= self.model.best_from_step and self.best_metric.update(value, epoch=epoch):
                best = {"step": self.step, "epoch": epoch, metrics.primary: value, "metrics": metrics.as_dict()}
                logging.info("epoch %d is the best so far: %s %.3f.", epoch, metrics.primary, value)
        self._csv_logger.add(row)
        if self.track is not None:
            self.track(row)
        self._evaluation_due = False
        if is_evaluated or epoch == self.config.num_epochs or self.stop or self._is_time_to_save():
            self.save(best)
        self.model.stop_training = bool(self.stop) or self.is_out_of_patience

    def _measure(self, epoch: int) -> tuple[Metrics, dict[str, float]]:
        """Evaluates the EMA weights, logs metrics and losses to TensorBoard, and returns them."""
        with self.model.ema_weights(), self.stop.interruptible():
            metrics = self.evaluate(epoch)  # type: ignore[misc] # checked by `_is_evaluated`
            losses = self.validation_loss() if self.validation_loss is not None else {}
            if losses:
                shown = ", ".join(
                    f"{name.removeprefix('val_').replace('_', ' ')} {value:.4g}" for name, value in losses.items()
                )
                logging.info("epoch %d, on the validation images: %s", epoch, shown)
            pictures = self.draw() if self.draw is not None else ()
        of_classes = metrics.per_class.get(metrics.primary, {})
        numbers = {
            **metrics.values,
            **losses,
            **{f"{metrics.primary}_/{name}": value for name, value in of_classes.items()},
        }
        self._tensorboard.write({f"eval/{name}": value for name, value in numbers.items()}, step=self.step)
        self._tensorboard.draw(pictures, name="truth_and_detections", step=self.step)
        return metrics, losses

    def _set_resume_message(self, step: int) -> None:
        """Sets the message that an immediate stop prints about the last checkpoint."""
        if step:
            self.stop.resumes_from = (
                f"The same command resumes after step {step}, the last checkpoint, in {self.paths.last}."
            )

    def _log_early_stopping(self) -> None:
        logging.info(
            "Early stopping: no %s above %.3f (epoch %s) in %d evaluations (--patience=%d).",
            self.layout.primary,
            self.best_metric.best_value,
            self.best_metric.best_epoch,
            self.best_metric.evaluations_since,
            self.config.patience,
        )

    def _is_evaluated(self, epoch: int) -> bool:
        is_due = epoch % self.config.evaluate_every == 0 or epoch == self.config.num_epochs
        return self.evaluate is not None and is_due

    def _is_time_to_draw(self) -> bool:
        is_time = self.is_done or bool(self.stop) or time.monotonic() - self._drawn_at > DRAW_SECONDS
        if is_time:
            self._drawn_at = time.monotonic()
        return is_time

    def _is_time_to_save(self) -> bool:
        if self.config.save_every:
            return self._step_before // self.config.save_every != self.step // self.config.save_every
        seconds = time.monotonic() - self._saved_at
        wait = min(MAX_SAVE_SECONDS, max(SAVE_SECONDS, SAVE_SHARE * self._writer.seconds))
        return not self._writer.is_busy and seconds > wait


def _write_extra(file: CheckpointFile, arrays: train_state.State, path: Path) -> None:
    file.write(path, arrays)
