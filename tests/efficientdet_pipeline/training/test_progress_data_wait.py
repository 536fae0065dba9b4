"""Data wait: the time between requesting a batch and receiving it."""

from types import SimpleNamespace

import pytest
import tensorflow as tf

from efficientdet_pipeline.training import progress
from efficientdet_pipeline.training.progress import DataWaitTimer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that advances only when a batch is made."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_data_wait_timer_measures_batches_made_on_request(clock: SimpleNamespace) -> None:
    def make(number: int) -> int:
        clock.now += 5.0
        return number

    options = tf.data.Options()
    options.autotune.enabled = False  # It may prefetch.
    made = tf.data.Dataset.range(4).map(lambda number: tf.numpy_function(make, [number], tf.int64)).cache()
    made = made.with_options(options)
    meter = DataWaitTimer()
    batches = meter.watch(made)
    for _ in batches:
        clock.now += 1.0  # The step.
    assert meter.seconds == 20.0
    # A prefetched batch is not a wait.
    assert [int(number) for number in batches] == [0, 1, 2, 3]
    assert meter.seconds == 20.0


def test_data_wait_timer_does_not_change_batches() -> None:
    plain = tf.data.Dataset.range(3).map(lambda number: {"a": number, "b": (tf.zeros((2, 3)), number)})
    watched = DataWaitTimer().watch(plain)
    assert watched.element_spec == plain.element_spec
    assert [int(each["a"]) for each in watched] == [0, 1, 2]
