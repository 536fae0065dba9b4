"""Checkpoint and evaluation callback: saves, evaluates, tracks the best metric, stops early."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging

from efficientdet_pipeline.training import checkpoint_io, divergence, train_state
from efficientdet_pipeline.training.checkpoint_io import AsyncWriter
from efficientdet_pipeline.training.divergence import LossSpikeLog
from efficientdet_pipeline.training.loggers import CSVLogger, TensorBoardLogger, draw_curves
from efficientdet_pipeline.training.run_config import RunConfig, RunPaths
from efficientdet_pipeline.training.signals import StopNow, StopRequest
from efficientdet_pipeline.training.strategy import is_alone, is_chief
from efficientdet_pipeline.training.train_step import TrainStepModel


@dataclass
class BestMetric:
    """The best so far."""

    best_ap: float | None = None
    best_epoch: float | None = None
    evaluations_since: int = 0
    """Evaluations after the best one: what patience counts."""

    @classmethod
    def of(cls, marker: Mapping[str, Any], best: Path | None) -> "BestMetric":
        """Returns how things stood when a checkpoint was written.

        Args:
          marker: what the checkpoint says of itself.
          best: the best checkpoint as it is now. It may be of a later time, and
            comes again then; where it was lost, the next best takes its place.
        """
        kept = checkpoint_io.read_marker(best) if best is not None else {}
        if "best_ap" not in marker:
            return cls(kept.get("AP"), kept.get("epoch"))
        if (marker["best_ap"] or 0) < 0:  # Earlier versions took what could not be measured for the best.
            return cls()
        standing = cls(marker["best_ap"], marker["best_epoch"], marker["evaluations_since"])
        if standing.best_ap is not None and kept.get("AP", -2.0) < standing.best_ap:
            standing.best_ap, standing.best_epoch = kept.get("AP"), kept.get("epoch")
        return standing

    def take(self, ap: float, *, epoch: float) -> bool:
        """Takes in an evaluation and returns whether it is the best.

        An AP that could not be measured (COCO's -1) is neither the best nor
        counted by patience. Among equal APs the earlier epoch stays the best, as
        with Keras's ModelCheckpoint; where all are 0, which tells nothing of the
        weights, the later one is taken, which has learnt for longer. Neither is
        progress that patience waits for.
        """
        if not ap >= 0:
            return False
        is_better = self.best_ap is None or ap > self.best_ap
        self.evaluations_since = 0 if is_better else self.evaluations_since + 1
        is_best = is_better or ap == self.best_ap == 0
        if is_best:
            self.best_ap, self.best_epoch = ap, epoch
        return is_best

    def as_facts(self) -> dict[str, Any]:
        """Returns what a checkpoint says of it."""
        return dict(vars(self))


# A checkpoint is due after the first of these, later where writing one is slow, so that it takes a twentieth of the
# time, but after the last in any case: a kill costs what was trained since.
SAVE_SECONDS = 30.0
SAVE_SHARE = 20.0
MOST_SAVE_SECONDS = 300.0
DRAW_SECONDS = 60.0
BEGUN_AP = 0.01
"""Best AP below which patience does not end a run: the first third of a short one stays near 0."""
# What the logs say of the last step alone.
_OF_A_STEP = {"step_loss", "bad_steps"}


class CheckpointCallback(keras.callbacks.Callback):
    """Saves, evaluates and stops a run.

    A save copies the state at the end of a step; files are written from the
    copies beside the training.

    Args:
      evaluate: number of the epoch → metrics, of the model with its averaged weights.
      write_network: writes the network's description to a path.
      draw: → pictures of what the model with its averaged weights finds, uint8 RGB.
      photos_of: number of a step (1-based) → what is known of its photos, for a report.
    """

    def __init__(
        self,
        plan: RunConfig,
        places: RunPaths,
        *,
        evaluate: Callable[[int], dict[str, Any]] | None,
        write_network: Callable[[Path], None],
        draw: Callable[[], Sequence[np.ndarray]] | None = None,
        photos_of: Callable[[int], list[dict[str, Any]]] | None = None,
    ):
        super().__init__()
        self.plan, self.places, self.evaluate, self.write_network = plan, places, evaluate, write_network
        self.draw, self.photos_of = draw, photos_of
        self.stop = StopRequest()
        self.step = 0
        self.standing = BestMetric()
        self.must_rewind = False
        """Whether steps were bad for so long that the run has to go back."""
        self._is_chief = is_chief()
        self._background = AsyncWriter()
        self._results = CSVLogger(places.results)
        self._board = TensorBoardLogger(places.tensorboard)
        self._incidents = LossSpikeLog(
            places.incidents, batch_size=plan.batch_size, steps_per_epoch=plan.steps_per_epoch
        )
        self._running_sums: train_state.State = {}
        self._evaluation_due = False
        self._first_step = self._step_before = 0
        self._saved_at = self._epoch_began = self._drawn_at = time.monotonic()

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to train."""
        return self.step >= self.plan.num_steps or self.is_out_of_patience

    @property
    def is_out_of_patience(self) -> bool:
        """Whether the run ends early: one that has found next to nothing yet has not begun, and goes on."""
        has_begun = (self.standing.best_ap or 0.0) >= BEGUN_AP
        return has_begun and 0 < self.plan.patience <= self.standing.evaluations_since

    def restore(self, model: TrainStepModel) -> int:
        """Puts the last checkpoint into the model and returns the step to go on from, 0 without one."""
        self.set_model(model)
        last = checkpoint_io.find_checkpoint(self.places.last)
        if last is not None:
            self._take_up(checkpoint_io.read_arrays(last / checkpoint_io.STATE), checkpoint_io.read_marker(last))
        return self.step

    @contextlib.contextmanager
    def keeping(self, request: StopRequest) -> Iterator[None]:
        """Begins with the evaluation that a stop had cut off; ends when everything is written."""
        self.stop = request
        if not self._is_chief:
            request.resumes_from = "The same command continues from the last checkpoint, where one was written."
        self._say_resumable(self.step)
        try:
            if self._evaluation_due:
                epoch = self.step // self.plan.steps_per_epoch
                self._results.forget_from(epoch)
                # The losses' sums are those of the checkpoint: `fit` has not cleared them yet.
                self._close_epoch(epoch, {tracker.name: float(tracker.result()) for tracker in self.model.metrics})
            elif self._is_chief and self.is_done and self._results.rows:
                # The last thing of a run: a process killed before it had written everything else.
                draw_curves(self.places.curves, self._results.columns())
            yield
        except BaseException:
            # The failure of the training is the one to tell, not that of the writing behind it.
            with contextlib.suppress(Exception):
                self._background.wait()
            raise
        self._background.wait()
        if self.is_out_of_patience and not request:
            self._say_impatient()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Puts back the losses' sums of an epoch that is continued; `fit` has just cleared them."""
        self._epoch_began = time.monotonic()
        self._first_step = self.step
        if self.step % self.plan.steps_per_epoch:
            train_state.restore_running_sums(self.model, self._running_sums)
        self._running_sums = {}

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts the step, saves where it is time, stops where it was asked for."""
        self._step_before, self.step = self.step, self._first_step + batch + 1
        self.stop.is_building = False
        logs = logs or {}
        self._background.check()
        if self._is_chief:
            self._incidents.look(self.step, logs)
        if 0 < self.plan.max_bad_steps <= logs.get("bad_steps", 0):
            self._refuse_or_rewind(int(logs["bad_steps"]))
        elif self.step % self.plan.steps_per_epoch and (self.stop or self._is_time_to_save()):
            self.save()
            self.model.stop_training = bool(self.stop)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluates, writes the row, saves."""
        if self.step % self.plan.steps_per_epoch == 0 and not self.must_rewind:
            self._close_epoch(epoch + 1, logs or {})

    def save(self, best: dict[str, Any] | None = None) -> None:
        """Copies the state and has the last checkpoint written, behind that of the best where `best` says its facts."""
        if not self._is_chief:
            return
        self._background.wait()
        # On JAX the way to the model through `self.model` costs a copy; the writing needs only the variables' names.
        model, arrays = self.model, train_state.state_arrays(self.model)
        facts = {
            "step": self.step,
            "epoch": self.step / self.plan.steps_per_epoch,
            "evaluation_due": self._evaluation_due,
            **self.standing.as_facts(),
        }
        curves = self._results.columns() if self._is_time_to_draw() else None

        def write() -> None:
            files: dict[str, Callable[[Path], None]] = {
                checkpoint_io.WEIGHTS: partial(train_state.write_weights, model, arrays),
                checkpoint_io.NETWORK: self.write_network,
            }
            if best is not None:
                checkpoint_io.write_checkpoint(self.places.best, files, best)
            files[checkpoint_io.STATE] = lambda path: checkpoint_io.write_arrays(path, arrays)
            checkpoint_io.write_checkpoint(self.places.last, files, facts, keep=self.plan.keep)
            self._say_resumable(facts["step"])
            if curves is not None:
                draw_curves(self.places.curves, curves)

        self._background.begin(write)
        self._saved_at = time.monotonic()

    def rewind(self) -> None:
        """Goes back to the last checkpoint from before the bad steps, and on from there with half the learning rate."""
        self.must_rewind = False
        self._background.wait()
        bad_step, model = self.step, self.model
        # Of several processes each has the weights from before the bad steps; not each could read what one writes.
        good = divergence.last_good(self.places.last) if is_alone() else None
        arrays, marker = good or (train_state.state_arrays(model), {"step": self.step, **self.standing.as_facts()})
        self._take_up(arrays, {**marker, "evaluation_due": False})
        divergence.halve_learning_rate(model)
        self.save()
        logging.warning(
            "%d steps in a row up to step %d had no finite loss or gradient. Going on from step %d with half the "
            "learning rate.",
            self.plan.max_bad_steps,
            bad_step,
            self.step,
        )

    def _take_up(self, arrays: train_state.State, marker: dict[str, Any]) -> None:
        train_state.restore_state(self.model, arrays)
        self.step = marker["step"]
        self._running_sums = arrays
        self._evaluation_due = marker.get("evaluation_due", False)
        self.standing = BestMetric.of(marker, checkpoint_io.find_checkpoint(self.places.best))
        self._results.forget_from(self.step // self.plan.steps_per_epoch + 1)
        self._incidents.forget_after(self.step)

    def _refuse_or_rewind(self, in_a_row: int) -> None:
        if divergence.was_rescued(self.model):
            steps = range(self.step - in_a_row + 1, self.step + 1)
            raise divergence.bad_steps_error(self.model, steps, self.photos_of, self.places.bad_steps)
        self.must_rewind = True
        self.model.stop_training = True

    def _close_epoch(self, epoch: int, logs: dict[str, Any]) -> None:
        """Ends epoch number `epoch` (1-based)."""
        if not self._is_chief:
            return
        row: dict[str, Any] = {"epoch": epoch, "step": self.step, "seconds": time.monotonic() - self._epoch_began}
        row |= {name: float(value) for name, value in logs.items() if name not in _OF_A_STEP}
        row["learning_rate"] = self.model.last_learning_rate()
        row["bad_steps_total"] = int(keras.ops.convert_to_numpy(self.model.bad_steps_total))
        self._board.write({f"train/{name}": value for name, value in row.items() if name != "epoch"}, step=self.step)
        best, is_evaluated = None, self._is_evaluated(epoch)
        if is_evaluated:
            try:
                metrics = self._measure(epoch)
            except StopNow:
                self._evaluation_due = self.model.stop_training = True
                self.save()
                return
            row |= {name: value for name, value in metrics.items() if not isinstance(value, dict)}
            if self.standing.take(metrics["AP"], epoch=epoch):
                best = {"step": self.step, "epoch": epoch, "AP": metrics["AP"], "metrics": metrics}
                logging.info("epoch %d is the best so far: AP %.3f.", epoch, metrics["AP"])
        self._results.add(row)
        self._evaluation_due = False
        if is_evaluated or epoch == self.plan.num_epochs or self.stop or self._is_time_to_save():
            self.save(best)
        self.model.stop_training = bool(self.stop) or self.is_out_of_patience

    def _measure(self, epoch: int) -> dict[str, Any]:
        """Returns the metrics of the averaged weights, and shows them."""
        with self.model.averaged(), self.stop.cutting_short():
            metrics = self.evaluate(epoch)  # type: ignore[misc] # `_is_evaluated` has looked
            pictures = self.draw() if self.draw is not None else ()
        numbers = {name: value for name, value in metrics.items() if not isinstance(value, dict)}
        per_class = {f"AP_/{name}": value for name, value in metrics["per_class"].items()}
        self._board.write({f"eval/{name}": value for name, value in (numbers | per_class).items()}, step=self.step)
        self._board.draw(pictures, name="truth_and_detections", step=self.step)
        return metrics

    def _say_resumable(self, step: int) -> None:
        """Notes for a stop that cannot wait which checkpoint there is."""
        if step:
            self.stop.resumes_from = (
                f"The same command continues after step {step}, the last checkpoint, in {self.places.last}."
            )

    def _say_impatient(self) -> None:
        logging.info(
            "No better AP than %.3f of epoch %s in %d evaluations: the run ends here (--patience=%d).",
            self.standing.best_ap,
            self.standing.best_epoch,
            self.standing.evaluations_since,
            self.plan.patience,
        )

    def _is_evaluated(self, epoch: int) -> bool:
        is_due = epoch % self.plan.evaluate_every == 0 or epoch == self.plan.num_epochs
        return self.evaluate is not None and is_due

    def _is_time_to_draw(self) -> bool:
        is_time = self.is_done or bool(self.stop) or time.monotonic() - self._drawn_at > DRAW_SECONDS
        if is_time:
            self._drawn_at = time.monotonic()
        return is_time

    def _is_time_to_save(self) -> bool:
        if self.plan.save_every:
            return self._step_before // self.plan.save_every != self.step // self.plan.save_every
        seconds = time.monotonic() - self._saved_at
        wait = min(MOST_SAVE_SECONDS, max(SAVE_SECONDS, SAVE_SHARE * self._background.seconds))
        return not self._background.is_busy and seconds > wait
