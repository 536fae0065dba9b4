"""Seconds per batch of the loader, of the training step on a batch in device memory, and of the training."""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from efficientdet.types import GroundTruth

Measurement = Callable[[int], float]
"""Number of batches → seconds per batch, without those that fill buffers."""

FEWEST = 3
_FILLED = 2
_BOXES = 15


def time_loader(batches: tf.data.Dataset) -> Measurement:
    """Returns the measurement of loading batches without training."""

    def measure(count: int) -> float:
        # A new iterator each time: an existing one would fill its buffers while something else is measured.
        iterator = iter(batches)
        return _timed(lambda: next(iterator), count) / count

    return measure


def time_step(model: keras.Model, batch: tuple[Any, GroundTruth]) -> Measurement:
    """Returns the measurement of training steps on one batch in device memory, given as NumPy arrays."""
    if keras.backend.backend() == "jax":
        on_device = keras.tree.map_structure(keras.ops.convert_to_tensor, batch)
        return lambda count: _fitted(model, (on_device for _ in itertools.count()), count)
    strategy = model.distribute_strategy
    dataset = strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensors(batch))
    copied = strategy.run(lambda values: tf.nest.map_structure(tf.identity, values), args=(next(iter(dataset)),))
    model.make_train_function()

    def measure(count: int) -> float:
        calls = math.ceil(count / model.steps_per_execution)
        seconds = _timed(lambda: model.train_function(itertools.repeat(copied)), calls)
        return seconds / (calls * model.steps_per_execution)

    return measure


def time_training(model: keras.Model, batches: tf.data.Dataset) -> Measurement:
    """Returns the measurement of a `fit` on the batches."""
    return lambda count: _fitted(model, batches, count)


def rates(parts: Mapping[str, Measurement], *, batch_size: int, rounds: int, seconds: float) -> dict[str, float]:
    """Returns the images per second of each part, median of its rounds.

    The parts are interleaved, so that all are measured under the same conditions.

    Args:
      parts: name → measurement.
      batch_size: images per batch.
      rounds: measurements per part.
      seconds: approximate duration of a measurement.
    """
    counts = {}
    for name, measure in parts.items():
        measure(1)  # builds and compiles
        counts[name] = max(FEWEST, round(seconds / measure(FEWEST)))
    taken: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(rounds):
        for name, measure in parts.items():
            taken[name].append(measure(counts[name]))
    return {name: batch_size / statistics.median(each) for name, each in taken.items()}


def synthetic_batch(
    batch_size: int, canvas: tuple[int, int], *, max_instances: int, num_classes: int
) -> tuple[np.ndarray, GroundTruth]:
    """Returns noise (b, H, W, 3) float32 and up to 15 random boxes per image, padded as by the loader."""
    random = np.random.default_rng(0)
    images = random.standard_normal((batch_size, *canvas, 3), dtype="float32")
    shape = (batch_size, max_instances, 2)
    corners = random.uniform(0.0, 0.7, shape)
    sides = random.uniform(0.02, 0.3, shape)
    boxes = (np.concatenate([corners, corners + sides], axis=-1) * np.tile(canvas, 2)).astype("float32")
    class_ids = random.integers(1, num_classes + 1, shape[:2]).astype("int32")
    boxes[:, _BOXES:], class_ids[:, _BOXES:] = -1, -1
    return images, GroundTruth(boxes, class_ids)


class _Stopwatch(keras.callbacks.Callback):
    """Measures the time between two steps of `fit`; steps are counted from 1."""

    def __init__(self, first: int, last: int):
        super().__init__()
        self.seconds = 0.0
        self._ends = (first, last)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts and stops the clock; nothing in between waits for the device."""
        if batch + 1 in self._ends:
            _wait(logs)
            self.seconds = time.perf_counter() - self.seconds


def _fitted(model: keras.Model, batches: Any, count: int) -> float:
    """Returns the seconds per step of `fit`."""
    calls, steps_a_call = math.ceil(count / model.steps_per_execution), model.steps_per_execution
    first, last = _FILLED * steps_a_call, (_FILLED + calls) * steps_a_call
    watch = _Stopwatch(first, last)
    model.fit(batches, steps_per_epoch=last, verbose=0, shuffle=False, callbacks=[watch])
    return watch.seconds / (last - first)


def _timed(take: Callable[[], Any], count: int) -> float:
    for _ in range(_FILLED):
        _wait(take())
    began = time.perf_counter()
    for _ in range(count):
        last = take()
    _wait(last)
    return time.perf_counter() - began


def _wait(values: Any) -> None:
    """Waits until the values are computed."""
    for value in keras.tree.flatten(values):
        np.asarray(value)
