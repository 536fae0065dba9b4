"""Keras's optimizers behind automl's double clipping."""

import keras
import numpy as np
import pytest

from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.training.optimizers import build_optimizer, clip_gradients


def clipped(*gradients: list[float], norm: float) -> list[np.ndarray]:
    return [np.asarray(gradient) for gradient in clip_gradients([keras.ops.array(g) for g in gradients], norm)]


def test_short_gradients_stay_as_they_are() -> None:
    first, second = clipped([0.3, 0.4], [0.0, 0.5], norm=1.0)
    np.testing.assert_allclose(first, [0.3, 0.4], rtol=1e-6)
    np.testing.assert_allclose(second, [0.0, 0.5], rtol=1e-6)


def test_a_long_gradient_is_cut_to_the_norm() -> None:
    np.testing.assert_allclose(clipped([30.0, 40.0], norm=10.0)[0], [6.0, 8.0], rtol=1e-6)


def test_each_is_cut_before_all_are_cut_together() -> None:
    # Alone: (1000, 0) → (1, 0) and (0, 1) stays. Together their norm is √2.
    first, second = clipped([1000.0, 0.0], [0.0, 1.0], norm=1.0)
    np.testing.assert_allclose(first, [1 / 2**0.5, 0.0], rtol=1e-6)
    np.testing.assert_allclose(second, [0.0, 1 / 2**0.5], rtol=1e-6)


def test_zero_gradients_stay_zero() -> None:
    np.testing.assert_array_equal(clipped([0.0, 0.0], norm=1.0)[0], [0.0, 0.0])


@pytest.mark.parametrize(
    ("name", "kind"),
    [("sgd", keras.optimizers.SGD), ("adam", keras.optimizers.Adam), ("adamw", keras.optimizers.AdamW)],
)
def test_the_option_names_the_optimizer(name: str, kind: type) -> None:
    optimizer = build_optimizer(TrainOptions(url_dataset="demo", optimizer=name, momentum=0.8), 0.1, [])
    assert isinstance(optimizer, kind)
    assert getattr(optimizer, "momentum", None) == 0.8 or optimizer.beta_1 == 0.8


def test_adamw_takes_the_decay_that_the_loss_then_leaves_out() -> None:
    optimizer = build_optimizer(TrainOptions(url_dataset="demo", optimizer="adamw", weight_decay=0.01), 0.1, [])
    assert optimizer.weight_decay == 0.01
