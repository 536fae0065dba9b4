"""What a person sees of an epoch: a moving bar at a terminal, a line elsewhere."""

import sys
import time
from typing import Any

import keras
from absl import logging
from tqdm import tqdm

_REFRESH_SECONDS = 0.5


class Progress(keras.callbacks.Callback):
    """Shows losses, learning rate, photos a second and the time that is left."""

    def __init__(self, *, steps: int, epochs: int, batch_size: int, bar: bool):
        super().__init__()
        self.steps, self.epochs, self.batch_size, self.bar = steps, epochs, batch_size, bar
        self.first_step = 0
        """Step of the epoch that training starts from; not 0 where a run continues inside an epoch."""
        self._shown: tqdm | None = None
        self._began = self._looked = 0.0
        self._tracing = 0.0
        """Seconds that the epoch's first step took beyond a step's time: building the graph, once a run."""
        self._has_traced = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the epoch's bar and clock."""
        self._began = time.monotonic()
        if self.bar:
            title = f"epoch {epoch + 1}/{self.epochs}"
            self._shown = tqdm(
                total=self.steps, initial=self.first_step, desc=title, unit="step", leave=False, file=sys.stderr
            )

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Moves the bar."""
        now = time.monotonic()
        if not self._has_traced:
            self._has_traced, self._tracing = True, now - self._began
        if self._shown is None:
            return
        done = self.first_step + batch + 1
        if now - self._looked >= _REFRESH_SECONDS or done == self.steps:
            self._looked = now
            self._shown.n = done
            self._shown.set_postfix_str(_losses(logs or {}), refresh=True)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Closes the bar and says how the epoch went."""
        if self._shown is not None:
            self._shown.close()
            self._shown = None
        seconds = time.monotonic() - self._began
        steps = max(1, self.steps - self.first_step)
        a_step = max(seconds - self._tracing, 1e-6) / (max(1, steps - 1) if self._tracing else steps)
        self.first_step, self._tracing = 0, 0.0
        left = (self.epochs - epoch - 1) * a_step * self.steps
        rate = self.model.last_learning_rate()
        logging.info(
            "epoch %d/%d: %s, learning rate %.2g, %.1f photos/s, %s, %s left",
            epoch + 1,
            self.epochs,
            _losses(logs or {}),
            rate,
            self.batch_size / a_step,
            duration(seconds),
            duration(left),
        )


def _losses(logs: dict[str, Any]) -> str:
    ordered = sorted(logs, key=lambda name: name != "loss")  # The sum first, then its parts.
    return ", ".join(f"{name.replace('_', ' ')} {float(logs[name]):.4g}" for name in ordered)


def duration(seconds: float) -> str:
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
