"""Profiler callback: records a few steps for TensorBoard."""

from pathlib import Path

import keras
import tensorflow as tf

_FIRST, _LAST = 10, 12


class Profile(keras.callbacks.Callback):
    """Records steps 10 to 12 of this process; the first steps build and compile."""

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        self._steps = 0
        self._recording = False

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Starts recording before the first profiled step."""
        self._steps += 1
        if self._steps == _FIRST:
            self._recording = True
            _profiler().start(str(self.folder))

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Stops after the last profiled step."""
        if self._steps == _LAST:
            self._stop()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Stops if the run is shorter."""
        self._stop()

    def _stop(self) -> None:
        if self._recording:
            self._recording = False
            _profiler().stop()


class _JaxProfiler:
    @staticmethod
    def start(folder: str) -> None:
        import jax

        jax.profiler.start_trace(folder)

    @staticmethod
    def stop() -> None:
        import jax

        jax.profiler.stop_trace()


def _profiler() -> type[_JaxProfiler]:  # TensorFlow's profiler has the same functions.
    return _JaxProfiler if keras.backend.backend() == "jax" else tf.profiler.experimental
