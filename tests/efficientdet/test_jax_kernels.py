"""Tests of the operations on JAX against their formulas and the automatic gradients of these."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("jax", reason="the JAX backend is an extra")

import jax
from efficientdet.jax_kernels import batch_normalize, recomputed_for_gradient, strided_depthwise
from jax import numpy as jnp

EPSILON = 1e-3


def by_formula(x: Any, gamma: Any, beta: Any) -> Any:
    wide = x.astype("float32")
    mean = wide.mean((0, 1, 2))
    variance = wide.var((0, 1, 2))
    normalized = gamma * (wide - mean) * jax.lax.rsqrt(variance + EPSILON) + beta
    return normalized.astype(x.dtype), mean, wide.var((0, 1, 2), ddof=1)


@pytest.fixture(params=[0.0, 20.0, 200.0], ids=lambda mean: f"mean {mean:g}")
def arguments(request: pytest.FixtureRequest) -> tuple[Any, ...]:
    """Returns x with the mean of the parameter, gamma and beta."""
    numbers = np.random.default_rng(1)
    x = numbers.normal(request.param, numbers.uniform(0.5, 2, 5), (4, 8, 6, 5)).astype("float32")
    return jnp.array(x), jnp.array(numbers.normal(1, 0.2, 5), "float32"), jnp.array(numbers.normal(0, 1, 5), "float32")


def test_batch_normalize_equals_the_formula(arguments: tuple[Any, ...]) -> None:
    for ours, expected in zip(batch_normalize(*arguments, EPSILON), by_formula(*arguments), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=2e-4)


@pytest.mark.parametrize("activation", [None, jax.nn.silu, jax.nn.relu6])
def test_batch_normalize_has_the_gradient_of_the_formula(arguments: tuple[Any, ...], activation: Any) -> None:
    target = jnp.array(np.random.default_rng(2).normal(size=arguments[0].shape), "float32")

    def activated(*values: Any) -> Any:
        normalized, *moments = by_formula(*values)
        return activation(normalized) if activation else normalized, *moments

    def loss(function: Any) -> Any:
        return lambda *values: jnp.sum(jnp.sin(function(*values)[0]) * target)

    ours = jax.grad(loss(lambda *values: batch_normalize(*values, EPSILON, activation)), (0, 1, 2))(*arguments)
    for found, expected in zip(ours, jax.grad(loss(activated), (0, 1, 2))(*arguments), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-3)


def test_batch_normalize_keeps_the_dtype_and_finite_variances() -> None:
    x = jnp.full((2, 3, 3, 4), 1000.5, "bfloat16")
    normalized, mean, variance = batch_normalize(x, jnp.ones(4), jnp.zeros(4), EPSILON)
    assert normalized.dtype == x.dtype
    assert mean.dtype == variance.dtype == jnp.float32
    np.testing.assert_array_equal(variance, np.zeros(4))


@pytest.mark.parametrize("size", [(8, 8), (7, 10), (5, 1)], ids=str)
@pytest.mark.parametrize("window", [2, 3, 5])
@pytest.mark.parametrize("strides", [(2, 2), (1, 3)], ids=str)
def test_strided_depthwise_equals_a_padded_convolution(
    size: tuple[int, int], window: int, strides: tuple[int, int]
) -> None:
    numbers = np.random.default_rng(3)
    x = jnp.array(numbers.normal(size=(2, *size, 3)), "float32")
    kernel = jnp.array(numbers.normal(size=(window, window, 3, 1)), "float32")

    def plain(x: Any, kernel: Any) -> Any:
        kernel = kernel.reshape(window, window, 1, 3)
        axes = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, strides, "SAME", dimension_numbers=axes, feature_group_count=3)

    expected, gradients_of = jax.vjp(plain, x, kernel)
    found, our_gradients_of = jax.vjp(lambda x, kernel: strided_depthwise(x, kernel, strides), x, kernel)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    upstream = jnp.array(numbers.normal(size=expected.shape), "float32")
    for ours, theirs in zip(our_gradients_of(upstream), gradients_of(upstream), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_strided_depthwise_gradient_keeps_the_dtype() -> None:
    x, kernel = jnp.ones((1, 4, 4, 2), "bfloat16"), jnp.ones((3, 3, 2, 1), "bfloat16")
    y, gradients_of = jax.vjp(lambda x, kernel: strided_depthwise(x, kernel, (2, 2)), x, kernel)
    assert [each.dtype for each in (y, *gradients_of(y))] == [jnp.bfloat16] * 3


def test_recomputed_for_gradient_equals_the_function() -> None:
    x = jnp.array(np.random.default_rng(4).normal(size=(3, 5)), "float32")

    def squares(x: Any) -> Any:
        return jnp.sum(jnp.exp(x) * x, axis=-1)

    ours = jax.value_and_grad(lambda x: jnp.sum(recomputed_for_gradient(squares)(x)))(x)
    expected = jax.value_and_grad(lambda x: jnp.sum(squares(x)))(x)
    for found, wanted in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
