import numpy as np
import pytest
from efficientdet.schedules import METHODS, Schedule, learning_rate_at
from keras import ops

SMALL = {"batch_size": 8, "steps_per_epoch": 100, "num_epochs": 10}


def rates(schedule: Schedule) -> np.ndarray:
    return ops.convert_to_numpy(learning_rate_at(np.arange(schedule.total_steps), schedule))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch_size", [1, 8, 64, 256])
def test_schedules_rates_rise_to_the_peak_and_never_again(method: str, batch_size: int) -> None:
    schedule = Schedule(
        batch_size=batch_size,
        steps_per_epoch=50,
        num_epochs=12,
        lr_decay_method=method,
        first_lr_drop_epoch=6,
        second_lr_drop_epoch=9,
    )
    curve = rates(schedule)
    np.testing.assert_allclose(curve[0], 0.008 * batch_size / 64, rtol=1e-5)
    np.testing.assert_allclose(curve[50], 0.08 * batch_size / 64, rtol=1e-5)
    assert (np.diff(curve[:51]) > 0).all()
    assert (np.diff(curve[50:]) <= 1e-9).all()
    assert curve.max() == curve[50]


@pytest.mark.parametrize("method", ["cosine", "polynomial"])
def test_schedules_smooth_curves_end_low_and_stay_there(method: str) -> None:
    schedule = Schedule(**SMALL, lr_decay_method=method)
    curve = rates(schedule)
    assert curve[-1] < 0.005 * schedule.peak
    beyond = ops.convert_to_numpy(learning_rate_at(np.array([1000, 5000]), schedule))
    np.testing.assert_allclose(beyond, 0.0, atol=1e-9)


def test_schedules_stepwise_falls_to_a_tenth_and_a_hundredth() -> None:
    schedule = Schedule(**SMALL, lr_decay_method="stepwise", first_lr_drop_epoch=4, second_lr_drop_epoch=7.5)
    steps = np.array([399, 400, 749, 750])
    shares = ops.convert_to_numpy(learning_rate_at(steps, schedule)) / schedule.peak
    np.testing.assert_allclose(shares, [1, 0.1, 0.1, 0.01], rtol=1e-5)


def test_schedules_compatible_cosine_falls_in_the_warm_up_and_rises_at_the_end() -> None:
    schedule = Schedule(**SMALL, compat="automl")
    curve = rates(schedule)
    np.testing.assert_allclose(curve[[100, 900, 999]], [0.009698, 0.0, 0.000296], atol=1e-6)
    four = Schedule(batch_size=4, steps_per_epoch=100, num_epochs=10, compat="automl")
    assert rates(four)[0] > rates(four)[99]


@pytest.mark.parametrize("warmup", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("compat", [None, "automl"])
def test_schedules_runs_as_short_as_their_warm_up_have_finite_rates(warmup: float, compat: str | None) -> None:
    for method in METHODS:
        schedule = Schedule(
            batch_size=8,
            steps_per_epoch=1,
            num_epochs=1,
            lr_decay_method=method,
            lr_warmup_epoch=warmup,
            compat=compat,
        )
        assert np.isfinite(ops.convert_to_numpy(learning_rate_at(np.arange(5), schedule))).all()


def test_schedules_rate_may_be_asked_for_a_number_a_tensor_or_many() -> None:
    schedule = Schedule(**SMALL)
    single = learning_rate_at(250, schedule)
    assert single.shape == ()
    assert float(single) == float(learning_rate_at(ops.convert_to_tensor(250), schedule))
    np.testing.assert_allclose(float(single), rates(schedule)[250], rtol=1e-6)


def test_schedules_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cosine, stepwise, polynomial, constant. Received 'linear'"):
        Schedule(**SMALL, lr_decay_method="linear")


@pytest.mark.parametrize("method", ["cosine", "polynomial"])
def test_schedules_hold_keeps_the_peak_and_then_ends_as_low(method: str) -> None:
    held = Schedule(**SMALL, lr_decay_method=method, lr_hold_epoch=4.0)
    curve = rates(held)
    assert (curve[100:501] == curve[100]).all()
    assert (np.diff(curve[500:]) < 0).all()
    assert curve[-1] < 0.005 * held.peak
    # What is left of the curve is that of a run without a hold whose decay begins there.
    short = rates(Schedule(batch_size=8, steps_per_epoch=100, num_epochs=6, lr_decay_method=method))
    np.testing.assert_allclose(curve[500:], short[100:], rtol=1e-6, atol=1e-9)
