"""Callback that shows the time until the first step, which the backend compiles before."""

import threading
import time

import keras
from absl import logging

from efficientdet_pipeline.training import strategy
from efficientdet_pipeline.training.compilation import Compilation
from efficientdet_pipeline.training.progress import Progress, format_duration

_LINE_SECONDS = 30.0
_BAR_SECONDS = 0.5
_WORTH_REPORTING = 5.0
"""Seconds; a faster first step is not reported."""


class FirstStep(keras.callbacks.Callback):
    """Shows while the train step is compiled how long it has taken so far, and then how long it took.

    A terminal has it in the progress bar; otherwise a line is logged every half
    minute. Unfreezing the backbone compiles another step, which is shown likewise.

    Args:
      progress: shows the bar or the lines of the training.
      line_seconds: time between two lines.
    """

    def __init__(self, progress: Progress, *, line_seconds: float = _LINE_SECONDS) -> None:
        super().__init__()
        self.progress = progress
        self.line_seconds = line_seconds
        self._compiled: object = None
        """Train function whose first step is done."""
        self._before: Compilation | None = None
        """State at the beginning of the step that is being compiled."""
        self._began = 0.0
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Starts the clock if the step must be compiled."""
        self._start()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Starts the clock if another callback changed the step."""
        self._start()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Reports the first step."""
        if self._thread is None:
            return
        self._stop()
        # On JAX, access through `self.model` costs a copy of the state.
        self._compiled = self._model.train_function
        took, now = time.monotonic() - self._began, strategy.compilation()
        if self._before is not None and took >= _WORTH_REPORTING and self.progress.is_shown:
            logging.info("%s", now.first_step_text(took, self._before))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keeps what was compiled in the epoch, such as the evaluation."""
        strategy.compilation()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Stops the clock of a step that did not end."""
        self._stop()

    def _start(self) -> None:
        if self._thread is not None or self._model.train_function is self._compiled:
            return
        self._before, self._began = strategy.compilation(), time.monotonic()
        self._is_over.clear()
        self._thread = threading.Thread(target=self._show, args=(self._before.verb,), daemon=True)
        self._thread.start()

    def _stop(self) -> None:
        if self._thread is not None:
            self._is_over.set()
            self._thread.join()
            self._thread = None

    def _show(self, verb: str) -> None:
        seconds = _BAR_SECONDS if self.progress.bar else self.line_seconds
        while not self._is_over.wait(seconds):
            took = format_duration(time.monotonic() - self._began)
            if self.progress.bar:
                self.progress.show(f"{verb.lower()}, {took}")
            elif self.progress.is_shown:
                logging.info("%s: %s so far.", verb, took)
