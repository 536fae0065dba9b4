"""Progress bar and progress lines, with the time spent waiting for data."""

import shutil
import sys
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from tqdm import tqdm

from efficientdet_pipeline.training.device_memory import memory_text
from efficientdet_pipeline.training.strategy import is_chief


class DataWaitTimer:
    """Adds up the seconds between asking a data set for a batch and getting it.

    The step asks from inside its compiled graph, where no clock of Python's
    sees it. So the data set itself looks at the clock: when it is asked, and
    when the batch is there. A batch that lay ready counts as nothing.

    On one device that is what the step waited. Where the backend fetches ahead
    while the device still computes, as JAX does, it is what the fetching waited,
    which may be more.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        """All the waiting so far."""

    def watch(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Returns the data set, watched."""
        # TensorFlow's own clock stands still, with an error, where operations must be deterministic.
        clock = tf.data.Dataset.from_tensors(0).repeat().map(lambda _: tf.numpy_function(_now, [], tf.float64))

        def note(asked: tf.Tensor, batch: Any) -> Any:
            with tf.control_dependencies([tf.numpy_function(self._add, [asked], tf.float64)]):
                return tf.nest.map_structure(tf.identity, batch)

        # `zip` asks its parts one after the other, and neither of these steps runs ahead.
        return tf.data.Dataset.zip((clock, batches)).map(note)

    def _add(self, asked: np.ndarray) -> np.ndarray:
        self.seconds += time.monotonic() - float(asked)
        return np.array(self.seconds)


def _now() -> np.ndarray:
    return np.array(time.monotonic())


_REFRESH_SECONDS = 0.5
# Without a terminal: log files and notebooks would be flooded by more, and a silent run looks dead.
_LINE_SECONDS = 30.0
# What the steps tell beside their losses.
_NO_LOSSES = {"step_loss", "bad_steps", "gradient_norm"}
_BAR_WIDTH = 20
_BAR = "{desc}: {percentage:3.0f}%|{bar:10}| {n_fmt}/{total_fmt}{postfix}"
# What a narrow terminal does without.
_LEAST_FIRST = ("parts", "memory", "rate", "wait", "bad", "speed")


class Progress(keras.callbacks.Callback):
    """Shows losses, learning rate, photos a second, the wait for data, memory, and the time that is left.

    At an epoch's end it adds photos_per_second and data_wait, the share of the
    epoch in which the training waited for data, to the logs.
    """

    def __init__(self, *, steps: int, epochs: int, batch_size: int, waiting: DataWaitTimer | None, bar: bool):
        super().__init__()
        self.steps, self.epochs, self.batch_size, self.bar, self.waiting = steps, epochs, batch_size, bar, waiting
        self.lines = not bar and is_chief()
        """Whether an epoch says how far it is now and then: of several processes, one speaks."""
        self.first_step = 0
        """Step of the epoch that training starts from; not 0 where a run continues inside an epoch."""
        self._shown: tqdm | None = None
        self._epoch = self._done = 0
        self._began = self._looked = self._waited_before = 0.0
        self._tracing = 0.0
        """Seconds of the epoch's first step, where it also built the graph."""
        self._traced: Any = None
        """The step that was built last; a run builds a second one where it thaws its backbone."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the epoch's bar and clock."""
        self._epoch, self._began, self._waited_before = epoch, time.monotonic(), self._waited()
        self._looked = self._began
        if self.bar:
            title = f"epoch {epoch + 1}/{self.epochs}"
            self._shown = tqdm(
                total=self.steps,
                initial=self.first_step,
                desc=title,
                bar_format=_BAR,
                leave=False,
                # Some terminals say that they have no rows, and tqdm would show nothing there.
                ncols=shutil.get_terminal_size().columns,
                nrows=2,
                file=sys.stderr,
            )

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Moves the bar."""
        now, self._done = time.monotonic(), batch + 1
        # Each step comes by here, and on JAX the way through `self.model` costs a copy of the state.
        function = self._model.train_function
        if function is not self._traced:
            self._traced, self._tracing = function, now - self._began
            # Meanwhile the data were made ready; that is not their fault.
            self._waited_before = self._waited()
        done = self.first_step + batch + 1
        if self._shown is None:
            if self.lines and now - self._looked >= _LINE_SECONDS and done < self.steps:
                self._looked = now
                words = ", ".join(filter(None, self._words(batch + 1, now, logs or {}).values()))
                logging.info("epoch %d/%d, step %d/%d: %s", self._epoch + 1, self.epochs, done, self.steps, words)
            return
        if now - self._looked >= _REFRESH_SECONDS or done == self.steps:
            self._looked = now
            self._shown.n = done
            room = self._shown.ncols - len(f"{self._shown.desc}: {done}/{self.steps} ") - _BAR_WIDTH
            self._shown.set_postfix_str(_fitted(self._words(batch + 1, now, logs or {}), room), refresh=True)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Closes the bar and says how the epoch went."""
        if self._shown is not None:
            self._shown.close()
            self._shown = None
        now = time.monotonic()
        logs = {} if logs is None else logs
        steps = self._done
        if self.first_step + steps < self.steps:
            return  # The run stops here.
        words = [*self._words(steps, now, logs).values(), f"took {format_duration(now - self._began)}"]
        logging.info("epoch %d/%d: %s", epoch + 1, self.epochs, ", ".join(filter(None, words)))
        logs["photos_per_second"] = self.batch_size / self._seconds_a_step(steps, now)
        if self.waiting is not None:
            logs["data_wait"] = self._share_waited(now)
        self.first_step, self._tracing = 0, 0.0

    def _words(self, steps: int, now: float, logs: dict[str, Any]) -> dict[str, str]:
        """Returns what there is to say after `steps` steps of the epoch, by subject; what is not known is empty."""
        # The first step built the graph: how fast steps are is seen from the second on.
        is_known = steps > 1 or not self._tracing
        a_step = self._seconds_a_step(steps, now)
        left = (self.epochs - self._epoch) * self.steps - self.first_step - steps
        bad = int(logs.get("bad_steps", 0))
        loss, parts = _losses(logs)
        return {
            "loss": loss,
            "parts": parts,
            "rate": f"learning rate {self.model.last_learning_rate():.2g}",
            "speed": f"{self.batch_size / a_step:.1f} photos/s" if is_known else "",
            "wait": f"{self._share_waited(now):.0%} waiting for data" if is_known and self.waiting is not None else "",
            "bad": f"{bad} bad steps in a row" if bad else "",
            "memory": memory_text(),
            "left": f"{format_duration(left * a_step)} left" if is_known else "",
        }

    def _seconds_a_step(self, steps: int, now: float) -> float:
        seconds = max(now - self._began - self._tracing, 1e-6)
        return seconds / (max(1, steps - 1) if self._tracing else steps)

    def _share_waited(self, now: float) -> float:
        seconds = max(now - self._began - self._tracing, 1e-6)
        return min(1.0, (self._waited() - self._waited_before) / seconds)

    def _waited(self) -> float:
        return self.waiting.seconds if self.waiting is not None else 0.0


def _losses(logs: dict[str, Any]) -> tuple[str, str]:
    """Returns the text of the sum, and that of its parts."""
    names = sorted(logs.keys() - _NO_LOSSES - {"loss"})
    text = {name: f"{name.replace('_', ' ')} {float(logs[name]):.4g}" for name in ("loss", *names) if name in logs}
    return text.pop("loss", ""), ", ".join(text.values())


def _fitted(words: dict[str, str], room: int) -> str:
    """Returns the words in a line of so many columns, without the least important where it is too long."""
    told = {subject: text for subject, text in words.items() if text}
    for subject in _LEAST_FIRST:
        if len(", ".join(told.values())) > room:
            told.pop(subject, None)
    return ", ".join(told.values())


def format_duration(seconds: float) -> str:
    """Returns a time span as people say it.

    >>> duration(200)
    '3 min 20 s'
    """
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
