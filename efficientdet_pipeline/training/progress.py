"""Progress bar and progress lines, with the time spent waiting for data."""

import shutil
import sys
import time

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from efficientdet.types import TensorTree
from tqdm import tqdm

from efficientdet_pipeline.training.device_memory import memory_text
from efficientdet_pipeline.training.strategy import is_chief


class DataWaitTimer:
    """Measures the time between requesting a batch from a data set and receiving it.

    The step requests batches inside its compiled graph, where Python cannot
    measure. Therefore the data set itself reads the clock: at the request, and
    when the batch is ready. A prefetched batch counts as no wait.

    On one device this is the wait of the step. If the backend prefetches while
    the device computes, as on JAX, it is the wait of the prefetching, which may
    be longer.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        """Total wait so far."""

    def watch(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Returns the data set with its waits measured."""
        # TensorFlow's own timestamp raises an error under op determinism.
        clock = tf.data.Dataset.from_tensors(0).repeat().map(lambda _: tf.numpy_function(_now, [], tf.float64))

        def note(asked: tf.Tensor, batch: TensorTree) -> TensorTree:
            with tf.control_dependencies([tf.numpy_function(self._add, [asked], tf.float64)]):
                return tf.nest.map_structure(tf.identity, batch)

        # `zip` requests its parts in order, and neither of them prefetches.
        return tf.data.Dataset.zip((clock, batches)).map(note)

    def _add(self, asked: np.ndarray) -> np.ndarray:
        self.seconds += time.monotonic() - float(asked)
        return np.array(self.seconds)


def _now() -> np.ndarray:
    return np.array(time.monotonic())


_REFRESH_SECONDS = 0.5
# Interval of progress lines without a terminal (log files, notebooks).
_LINE_SECONDS = 30.0
# Logs of a step that are not losses.
_NOT_LOSSES = {"step_loss", "bad_steps", "gradient_norm"}
_BAR_WIDTH = 20
_BAR = "{desc}: {percentage:3.0f}%|{bar:10}| {n_fmt}/{total_fmt}{postfix}"
# Parts to drop on a narrow terminal, first to last.
_DROP_ORDER = ("parts", "memory", "rate", "wait", "bad", "speed")


class Progress(keras.callbacks.Callback):
    """Shows losses, learning rate, images per second, data wait, memory, and remaining time.

    At the end of an epoch it adds photos_per_second (images per second) and
    data_wait, the share of the epoch spent waiting for data, to the logs.
    """

    def __init__(self, *, steps: int, epochs: int, batch_size: int, data_wait: DataWaitTimer | None, bar: bool):
        super().__init__()
        self.steps, self.epochs, self.batch_size, self.bar, self.data_wait = steps, epochs, batch_size, bar, data_wait
        self.lines = not bar and is_chief()
        """Whether to log progress lines; in a process group, only the chief does."""
        self.first_step = 0
        """First step of the epoch; not 0 if the run resumes inside an epoch."""
        self._progress_bar: tqdm | None = None
        self._epoch = self._done = 0
        self._began = self._refreshed = self._waited_before = 0.0
        self._tracing = 0.0
        """Seconds of the epoch's first step if it built the graph."""
        self._traced: object = None
        """Train function that was built last; unfreezing the backbone builds another."""

    @property
    def is_shown(self) -> bool:
        """Whether this process shows progress, as a bar or as lines."""
        return self.bar or self.lines

    def show(self, text: str) -> None:
        """Shows a text in the bar, if there is one, until the next step."""
        if self._progress_bar is not None:
            self._progress_bar.set_postfix_str(text, refresh=True)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Starts the epoch's bar and clock."""
        self._epoch, self._began, self._waited_before = epoch, time.monotonic(), self._waited()
        self._refreshed = self._began
        if self.bar:
            title = f"epoch {epoch + 1}/{self.epochs}"
            self._progress_bar = tqdm(
                total=self.steps,
                initial=self.first_step,
                desc=title,
                bar_format=_BAR,
                leave=False,
                # Some terminals report no row count, for which tqdm would show nothing.
                ncols=shutil.get_terminal_size().columns,
                nrows=2,
                file=sys.stderr,
            )

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Updates the bar, or logs a progress line if due."""
        now, self._done = time.monotonic(), batch + 1
        # Runs every step; on JAX, access through `self.model` costs a copy of the state.
        function = self._model.train_function
        if function is not self._traced:
            self._traced, self._tracing = function, now - self._began
            # The wait for data during tracing does not count.
            self._waited_before = self._waited()
        done = self.first_step + batch + 1
        if self._progress_bar is None:
            if self.lines and now - self._refreshed >= _LINE_SECONDS and done < self.steps:
                self._refreshed = now
                parts = ", ".join(filter(None, self._status(batch + 1, now, logs or {}).values()))
                logging.info("epoch %d/%d, step %d/%d: %s", self._epoch + 1, self.epochs, done, self.steps, parts)
            return
        if now - self._refreshed >= _REFRESH_SECONDS or done == self.steps:
            self._refreshed = now
            self._progress_bar.n = done
            width = self._progress_bar.ncols - len(f"{self._progress_bar.desc}: {done}/{self.steps} ") - _BAR_WIDTH
            self._progress_bar.set_postfix_str(
                _fit_to_width(self._status(batch + 1, now, logs or {}), width), refresh=True
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Closes the bar and logs the epoch."""
        if self._progress_bar is not None:
            self._progress_bar.close()
            self._progress_bar = None
        now = time.monotonic()
        logs = {} if logs is None else logs
        steps = self._done
        if self.first_step + steps < self.steps:
            return  # The run stops inside the epoch.
        parts = [*self._status(steps, now, logs).values(), f"took {format_duration(now - self._began)}"]
        logging.info("epoch %d/%d: %s", epoch + 1, self.epochs, ", ".join(filter(None, parts)))
        logs["photos_per_second"] = self.batch_size / self._seconds_per_step(steps, now)
        if self.data_wait is not None:
            logs["data_wait"] = self._wait_share(now)
        self.first_step, self._tracing = 0, 0.0

    def _status(self, steps: int, now: float, logs: dict[str, float]) -> dict[str, str]:
        """Returns the parts of the progress line after `steps` steps of the epoch, by name; empty if unknown."""
        # The first step builds the graph: speed is known from the second on.
        is_known = steps > 1 or not self._tracing
        step_seconds = self._seconds_per_step(steps, now)
        left = (self.epochs - self._epoch) * self.steps - self.first_step - steps
        bad = int(logs.get("bad_steps", 0))
        loss, terms = _losses(logs)
        return {
            "loss": loss,
            "parts": terms,
            "rate": f"learning rate {self.model.last_learning_rate():.2g}",
            "speed": f"{self.batch_size / step_seconds:.1f} images/s" if is_known else "",
            "wait": f"{self._wait_share(now):.0%} waiting for data" if is_known and self.data_wait is not None else "",
            "bad": f"{bad} consecutive bad steps" if bad else "",
            "memory": memory_text(),
            "left": f"{format_duration(left * step_seconds)} left" if is_known else "",
        }

    def _seconds_per_step(self, steps: int, now: float) -> float:
        seconds = max(now - self._began - self._tracing, 1e-6)
        return seconds / (max(1, steps - 1) if self._tracing else steps)

    def _wait_share(self, now: float) -> float:
        seconds = max(now - self._began - self._tracing, 1e-6)
        return min(1.0, (self._waited() - self._waited_before) / seconds)

    def _waited(self) -> float:
        return self.data_wait.seconds if self.data_wait is not None else 0.0


def _losses(logs: dict[str, float]) -> tuple[str, str]:
    """Returns the text of the total loss, and that of its terms."""
    names = sorted(logs.keys() - _NOT_LOSSES - {"loss"})
    text = {name: f"{name.replace('_', ' ')} {float(logs[name]):.4g}" for name in ("loss", *names) if name in logs}
    return text.pop("loss", ""), ", ".join(text.values())


def _fit_to_width(parts: dict[str, str], width: int) -> str:
    """Returns the parts joined in one line of `width` columns, without the least important if too long."""
    shown = {subject: text for subject, text in parts.items() if text}
    for subject in _DROP_ORDER:
        if len(", ".join(shown.values())) > width:
            shown.pop(subject, None)
    return ", ".join(shown.values())


def format_duration(seconds: float) -> str:
    """Returns a duration as readable text.

    >>> format_duration(200)
    '3 min 20 s'
    """
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
