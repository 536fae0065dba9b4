"""Tests of batch normalization on JAX against the formula and its automatic gradient."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("jax", reason="the JAX backend is an extra")

import jax
from efficientdet.jax_kernels import batch_normalize
from jax import numpy as jnp

EPSILON = 1e-3


def by_formula(x: Any, gamma: Any, beta: Any) -> Any:
    wide = x.astype("float32")
    mean = wide.mean((0, 1, 2))
    variance = jnp.square(wide - mean).mean((0, 1, 2))
    return (gamma * (wide - mean) * jax.lax.rsqrt(variance + EPSILON) + beta).astype(x.dtype), mean, variance


@pytest.fixture(params=[0.0, 20.0, 200.0], ids=lambda mean: f"mean {mean:g}")
def arguments(request: pytest.FixtureRequest) -> tuple[Any, ...]:
    """Returns x with the mean of the parameter, gamma and beta."""
    numbers = np.random.default_rng(1)
    x = numbers.normal(request.param, numbers.uniform(0.5, 2, 5), (4, 8, 6, 5)).astype("float32")
    return jnp.array(x), jnp.array(numbers.normal(1, 0.2, 5), "float32"), jnp.array(numbers.normal(0, 1, 5), "float32")


def test_batch_normalize_equals_the_formula(arguments: tuple[Any, ...]) -> None:
    for ours, expected in zip(batch_normalize(*arguments, EPSILON), by_formula(*arguments), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=2e-4)


def test_batch_normalize_has_the_gradient_of_the_formula(arguments: tuple[Any, ...]) -> None:
    target = jnp.array(np.random.default_rng(2).normal(size=arguments[0].shape), "float32")

    def loss(function: Any) -> Any:
        return lambda *values: jnp.sum(jnp.sin(function(*values)[0]) * target)

    ours = jax.grad(loss(lambda *values: batch_normalize(*values, EPSILON)), (0, 1, 2))(*arguments)
    for found, expected in zip(ours, jax.grad(loss(by_formula), (0, 1, 2))(*arguments), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-3)


def test_batch_normalize_keeps_the_dtype_and_finite_variances() -> None:
    x = jnp.full((2, 3, 3, 4), 1000.5, "bfloat16")
    normalized, mean, variance = batch_normalize(x, jnp.ones(4), jnp.zeros(4), EPSILON)
    assert normalized.dtype == x.dtype
    assert mean.dtype == variance.dtype == jnp.float32
    np.testing.assert_array_equal(variance, np.zeros(4))
