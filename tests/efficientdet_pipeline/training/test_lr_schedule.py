"""Learning-rate schedule from the options."""

import keras
import pytest

from efficientdet_pipeline.options.optimizer import OptimizerOptions
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.training.lr_schedule import LearningRate, learning_rate


def rate_of(**given: object) -> LearningRate:
    defaults = {"num_epochs": 10, "batch_size": 32, "learning_rate": 0.08}
    return learning_rate(compose(OptimizerOptions, **{**defaults, **given}), steps_per_epoch=100)


def test_learning_rate_scales_with_the_batch_and_warms_up_over_an_epoch() -> None:
    rate = rate_of()
    assert float(rate(0)) == pytest.approx(0.008 * 32 / 64)
    assert float(rate(50)) == pytest.approx((0.008 + 0.08) / 2 * 32 / 64)
    assert float(rate(100)) == pytest.approx(0.04)


def test_learning_rate_cosine_ends_low() -> None:
    rate = rate_of()
    assert float(rate(550)) == pytest.approx(0.02, rel=1e-3)
    assert float(rate(999)) < 1e-6
    assert float(rate(5000)) == pytest.approx(0.0, abs=1e-8)


def test_learning_rate_other_curves_follow_their_options() -> None:
    stepwise = rate_of(lr_decay_method="stepwise", first_lr_drop_epoch=2.0, second_lr_drop_epoch=4.0)
    assert [round(float(stepwise(step)), 6) for step in (199, 200, 400)] == [0.04, 0.004, 0.0004]
    assert float(rate_of(lr_decay_method="constant")(999)) == pytest.approx(0.04)
    straight = rate_of(lr_decay_method="polynomial", poly_lr_power=1.0)
    assert float(straight(550)) == pytest.approx(0.02, rel=1e-3)


def test_learning_rate_without_warm_up_starts_at_its_peak() -> None:
    assert float(rate_of(lr_warmup_epoch=0.0)(0)) == pytest.approx(0.04)


def test_learning_rate_is_accepted_by_an_optimizer() -> None:
    optimizer = keras.optimizers.SGD(rate_of())
    assert float(optimizer.learning_rate) == pytest.approx(0.004)
    assert rate_of().get_config() == {}
