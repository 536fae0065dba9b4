"""Seconds that batches take: to load, to learn from when they lie on the device already, and both together."""

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
"""Number of batches → seconds a batch took; those that fill buffers are left out."""

FEWEST = 3
_FILLED = 2
_BOXES = 15


def time_loader(batches: tf.data.Dataset) -> Measurement:
    """Returns the measurement of batches that nobody learns from."""

    def measure(count: int) -> float:
        # A new iterator each time: one that is kept would fill its buffers while something else is measured.
        iterator = iter(batches)
        return _timed(lambda: next(iterator), count) / count

    return measure


def time_step(model: keras.Model, batch: tuple[Any, GroundTruth]) -> Measurement:
    """Returns the measurement of steps on one batch, given as NumPy arrays, that lies on the device."""
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
    """Returns the images per second of each part, the median of its rounds.

    The parts are taken in turns, so that all see the same machine.

    Args:
      parts: name → measurement.
      batch_size: images in a batch.
      rounds: how often each part is measured.
      seconds: about how long a measurement shall take.
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
    """Returns noise (b, H, W, 3) float32 and up to 15 random boxes an image, padded as the loader pads them."""
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
    """Times what a fit does between two of its steps, which are counted from 1."""

    def __init__(self, first: int, last: int):
        super().__init__()
        self.seconds = 0.0
        self._ends = (first, last)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts and stops; in between nothing waits for the device."""
        if batch + 1 in self._ends:
            _wait(logs)
            self.seconds = time.perf_counter() - self.seconds


def _fitted(model: keras.Model, batches: Any, count: int) -> float:
    """Returns the seconds of a step of a fit."""
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
    """Returns when the numbers are there."""
    for value in keras.tree.flatten(values):
        np.asarray(value)
