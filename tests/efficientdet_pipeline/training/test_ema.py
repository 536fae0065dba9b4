"""Exponential moving average of the weights."""

import keras
import numpy as np
import pytest

from efficientdet_pipeline.training.ema import ExponentialMovingAverage


def test_ema_starts_at_the_weights() -> None:
    variable = keras.Variable([1.0, 2.0])
    average = ExponentialMovingAverage([variable], 0.9)
    np.testing.assert_array_equal(average.shadows[0], [1.0, 2.0])


def test_ema_decay_grows_with_the_steps_up_to_its_limit() -> None:
    variable = keras.Variable(0.0)
    average = ExponentialMovingAverage([variable], 0.5)
    variable.assign(1.0)
    expected = 0.0
    for step in (0, 1, 10, 100):
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * 1.0
        average.update(step)
        assert float(average.shadows[0]) == pytest.approx(expected, rel=1e-6)


def test_ema_of_a_constant_variable_is_its_value() -> None:
    variable = keras.Variable([[3.0, -4.0]])
    average = ExponentialMovingAverage([variable], 0.9998)
    for step in range(5):
        average.update(step)
    np.testing.assert_array_equal(average.shadows[0], [[3.0, -4.0]])


def test_ema_is_swapped_in_and_out() -> None:
    variable = keras.Variable([1.0])
    average = ExponentialMovingAverage([variable], 0.9)
    variable.assign([5.0])
    with average.swapped_in():
        np.testing.assert_array_equal(variable, [1.0])
    np.testing.assert_array_equal(variable, [5.0])


def test_ema_restores_raw_weights_after_an_error() -> None:
    variable = keras.Variable([1.0])
    average = ExponentialMovingAverage([variable], 0.9)
    variable.assign([5.0])
    with pytest.raises(KeyError), average.swapped_in():
        raise KeyError
    np.testing.assert_array_equal(variable, [5.0])
    np.testing.assert_array_equal(average.shadows[0], [1.0])
