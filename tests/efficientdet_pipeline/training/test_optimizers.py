"""Optimizers and automl's double gradient clipping."""

import keras
import numpy as np
import pytest

from efficientdet_pipeline.options.optimizer import OptimizerOptions
from efficientdet_pipeline.training.optimizers import build_optimizer, clip_gradients


def clipped(*gradients: list[float], norm: float) -> list[np.ndarray]:
    return [np.asarray(gradient) for gradient in clip_gradients([keras.ops.array(g) for g in gradients], norm)]


def test_clip_gradients_keeps_small_gradients() -> None:
    first, second = clipped([0.3, 0.4], [0.0, 0.5], norm=1.0)
    np.testing.assert_allclose(first, [0.3, 0.4], rtol=1e-6)
    np.testing.assert_allclose(second, [0.0, 0.5], rtol=1e-6)


def test_clip_gradients_clips_to_the_norm() -> None:
    np.testing.assert_allclose(clipped([30.0, 40.0], norm=10.0)[0], [6.0, 8.0], rtol=1e-6)


def test_clip_gradients_clips_each_before_the_global_norm() -> None:
    # Separately: (1000, 0) → (1, 0), and (0, 1) is unchanged. Together their norm is √2.
    first, second = clipped([1000.0, 0.0], [0.0, 1.0], norm=1.0)
    np.testing.assert_allclose(first, [1 / 2**0.5, 0.0], rtol=1e-6)
    np.testing.assert_allclose(second, [0.0, 1 / 2**0.5], rtol=1e-6)


def test_clip_gradients_keeps_zero_gradients() -> None:
    np.testing.assert_array_equal(clipped([0.0, 0.0], norm=1.0)[0], [0.0, 0.0])


@pytest.mark.parametrize(
    ("name", "kind"),
    [("sgd", keras.optimizers.SGD), ("adam", keras.optimizers.Adam), ("adamw", keras.optimizers.AdamW)],
)
def test_build_optimizer_follows_the_option(name: str, kind: type) -> None:
    optimizer = build_optimizer(OptimizerOptions(optimizer=name, momentum=0.8), 0.1, [])
    assert isinstance(optimizer, kind)
    assert getattr(optimizer, "momentum", None) == 0.8 or optimizer.beta_1 == 0.8


def test_build_optimizer_adamw_decouples_weight_decay() -> None:
    optimizer = build_optimizer(OptimizerOptions(optimizer="adamw", weight_decay=0.01), 0.1, [])
    assert optimizer.weight_decay == 0.01


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_build_optimizer_scales_the_rate_of_single_variables(name: str) -> None:
    def moved(factors: dict[str, float]) -> list[float]:
        layer = keras.layers.Dense(1, name="layer")
        layer.build((None, 1))
        layer.set_weights([np.ones((1, 1)), np.ones(1)])
        variables = layer.trainable_variables
        options = OptimizerOptions(optimizer=name, weight_decay=0.0)
        named = {variable.path: factors[variable.name] for variable in variables if variable.name in factors}
        optimizer = build_optimizer(options, 0.1, variables, rate_factors=named)
        optimizer.apply([keras.ops.ones((1, 1)), keras.ops.ones(1)])
        return [float(1 - keras.ops.convert_to_numpy(variable).item()) for variable in variables]

    kernel, bias = moved({})
    np.testing.assert_allclose(moved({"kernel": 0.25}), [kernel / 4, bias], rtol=1e-4)
    assert moved({"kernel": 1.0}) == [kernel, bias]
