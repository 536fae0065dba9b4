"""Batch normalization on JAX with few passes over memory and a hand-written gradient.

`b` batch, `h w` height and width, `c` channels.
"""

from functools import partial

import jax
from jax import numpy as jnp

_OVER_PIXELS = (0, 1, 2)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def batch_normalize(
    x: jax.Array, gamma: jax.Array, beta: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns `x` normalized by the moments of its batch, and these moments.

    The moments are computed from sums of (x - s) and (x - s)², in float32 and in
    one pass; the shift s, the first pixel of the batch, avoids cancellation in
    the variance. The gradient stores `x` in its own precision and no other
    tensor of its size. No gradient flows through the returned moments: they
    update moving statistics only.

    Args:
      x: `(b, h, w, c)`.
      gamma: scale per channel, float32.
      beta: offset per channel, float32.
      epsilon: added to the variance.

    Returns:
      The normalized `(b, h, w, c)` in the dtype of `x`; mean and biased
      variance per channel in float32. Ioffe and Szegedy, 2015.
    """
    return _forward(x, gamma, beta, epsilon)[0]


def _forward(
    x: jax.Array, gamma: jax.Array, beta: jax.Array, epsilon: float
) -> tuple[tuple[jax.Array, jax.Array, jax.Array], tuple[jax.Array, ...]]:
    count = x.shape[0] * x.shape[1] * x.shape[2]
    shift = x[0, 0, 0].astype(jnp.float32)
    shifted = x.astype(jnp.float32) - shift
    mean = jnp.sum(shifted, _OVER_PIXELS) / count
    variance = jnp.maximum(jnp.sum(shifted * shifted, _OVER_PIXELS) / count - mean * mean, 0.0)
    mean = mean + shift
    inverse = jax.lax.rsqrt(variance + epsilon)
    scale = gamma * inverse
    normalized = (x.astype(jnp.float32) * scale + (beta - mean * scale)).astype(x.dtype)
    return (normalized, mean, variance), (x, gamma, mean, inverse)


def _backward(
    epsilon: float, kept: tuple[jax.Array, ...], cotangents: tuple[jax.Array, jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    del epsilon
    x, gamma, mean, inverse = kept
    gradient = cotangents[0].astype(jnp.float32)
    unit = (x.astype(jnp.float32) - mean) * inverse
    of_beta = jnp.sum(gradient, _OVER_PIXELS)
    of_gamma = jnp.sum(gradient * unit, _OVER_PIXELS)
    count = x.shape[0] * x.shape[1] * x.shape[2]
    of_x = (gamma * inverse) * (gradient - of_beta / count - unit * (of_gamma / count))
    return of_x.astype(x.dtype), of_gamma, of_beta


batch_normalize.defvjp(_forward, _backward)
