"""Measurements are interleaved medians under the conditions of training."""

import numpy as np
import tensorflow as tf

from efficientdet_pipeline.benchmarking import measuring


def test_measuring_rates_are_medians_taken_in_turns() -> None:
    calls: list[tuple[str, int]] = []
    # The first two calls of each part are a warm-up and measure the duration of a batch.
    seconds = {"loader": iter([9.0, 0.5, 0.25, 9.0, 0.5]), "step": iter([9.0, 4.0, 1.0, 2.0, 8.0])}

    def part(name: str) -> measuring.Measurement:
        def measure(count: int) -> float:
            calls.append((name, count))
            return next(seconds[name])

        return measure

    rates = measuring.rates({name: part(name) for name in seconds}, batch_size=4, rounds=3, seconds=5.0)
    assert rates == {"loader": 4 / 0.5, "step": 4 / 2.0}
    # Five seconds are ten batches of the one; the other has no fewer than three.
    assert calls[4:] == [("loader", 10), ("step", 3)] * 3


def test_measuring_loader_begins_again_with_each_measurement() -> None:
    taken = []

    def note(number: np.int64) -> np.int64:
        taken.append(int(number))
        return number

    numbers = tf.data.Dataset.range(100).map(lambda number: tf.numpy_function(note, [number], tf.int64))
    measure = measuring.time_loader(numbers)
    assert measure(4) > 0
    # Two batches fill the buffers; TensorFlow may prefetch more.
    assert len(taken) >= 6
    assert measure(1) > 0
    assert taken.count(0) == 2


def test_measuring_synthetic_batch_is_padded_like_a_real_one() -> None:
    images, truth = measuring.synthetic_batch(2, (64, 96), max_instances=20, num_classes=3)
    assert images.shape == (2, 64, 96, 3)
    assert images.dtype == np.float32
    assert truth.boxes.shape == (2, 20, 4)
    boxes = truth.boxes[:, :15]
    assert (boxes[..., 2:] > boxes[..., :2]).all()
    assert (boxes >= 0).all()
    assert (boxes <= [64, 96, 64, 96]).all()
    assert set(np.unique(truth.class_ids[:, :15])) <= {1, 2, 3}
    assert (truth.boxes[:, 15:] == -1).all()
    assert (truth.class_ids[:, 15:] == -1).all()
