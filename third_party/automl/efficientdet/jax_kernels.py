"""Operations on JAX with few passes over memory and gradients written out: normalizations, convolutions, losses.

`b` batch, `h w` height and width, `c` channels.
"""

from collections.abc import Callable
from functools import partial

import jax
from jax import numpy as jnp

_OVER_PIXELS = (0, 1, 2)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def batch_normalize(
    x: jax.Array, gamma: jax.Array, beta: jax.Array, epsilon: float, activation: Callable[..., jax.Array] | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns `x` normalized by the moments of its batch and activated, and these moments.

    The moments are computed from sums of (x - s) and (x - s)², in float32 and in
    one pass; the shift s, the first pixel of the batch, avoids cancellation in
    the variance. The gradient stores `x` in its own precision and no other
    tensor of its size: it normalizes again, which costs less than reading
    another map. No gradient flows through the returned moments: they update
    moving statistics only.

    Args:
      x: `(b, h, w, c)`.
      gamma: scale per channel, float32.
      beta: offset per channel, float32.
      epsilon: added to the variance.
      activation: element-wise function of the normalized map, which has the
        dtype of `x`; by default none.

    Returns:
      The normalized and activated `(b, h, w, c)` in the dtype of `x`; mean and
      unbiased variance per channel in float32. The map is normalized by the
      biased variance. Ioffe and Szegedy, 2015.
    """
    return _forward(x, gamma, beta, epsilon, activation)[0]


def _forward(
    x: jax.Array, gamma: jax.Array, beta: jax.Array, epsilon: float, activation: Callable[..., jax.Array] | None
) -> tuple[tuple[jax.Array, jax.Array, jax.Array], tuple[jax.Array, ...]]:
    count = x.shape[0] * x.shape[1] * x.shape[2]
    shift = x[0, 0, 0].astype(jnp.float32)
    shifted = x.astype(jnp.float32) - shift
    mean = jnp.sum(shifted, _OVER_PIXELS) / count
    variance = jnp.maximum(jnp.sum(shifted * shifted, _OVER_PIXELS) / count - mean * mean, 0.0)
    mean = mean + shift
    inverse = jax.lax.rsqrt(variance + epsilon)
    y = _affine(x, gamma, beta, mean, inverse)
    y = y if activation is None else activation(y)
    return (y, mean, variance * (count / max(count - 1, 1))), (x, gamma, beta, mean, inverse)


def _affine(x: jax.Array, gamma: jax.Array, beta: jax.Array, mean: jax.Array, inverse: jax.Array) -> jax.Array:
    scale = gamma * inverse
    return (x.astype(jnp.float32) * scale + (beta - mean * scale)).astype(x.dtype)


def _backward(
    epsilon: float,
    activation: Callable[..., jax.Array] | None,
    kept: tuple[jax.Array, ...],
    cotangents: tuple[jax.Array, jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array, jax.Array]:
    del epsilon
    x, gamma, beta, mean, inverse = kept

    def of_normalized(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        upstream = cotangents[0]
        if activation is not None:
            (upstream,) = jax.vjp(activation, _affine(x, gamma, beta, mean, inverse))[1](upstream)
        return upstream.astype(jnp.float32), (x.astype(jnp.float32) - mean) * inverse

    # Without the barriers, XLA would keep the normalized map, and write and read the activation's gradient.
    x = jax.lax.optimization_barrier(x)
    gradient, unit = of_normalized(x)
    sums = jnp.sum(gradient, _OVER_PIXELS), jnp.sum(gradient * unit, _OVER_PIXELS)
    x, (of_beta, of_gamma) = jax.lax.optimization_barrier((x, sums))
    gradient, unit = of_normalized(x)
    count = x.shape[0] * x.shape[1] * x.shape[2]
    of_x = (gamma * inverse) * (gradient - of_beta / count - unit * (of_gamma / count))
    return of_x.astype(x.dtype), of_gamma, of_beta


batch_normalize.defvjp(_forward, _backward)


def recomputed_for_gradient(function: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """Returns an element-wise function followed by a reduction, of which only the argument is kept for the gradient.

    XLA would write each intermediate map that the gradient uses again, in float32.
    """

    @jax.custom_vjp
    def computed(x: jax.Array) -> jax.Array:
        return function(x)

    def backward(x: jax.Array, upstream: jax.Array) -> tuple[jax.Array, ...]:
        # The barrier hides that the factor is one, so that the compiler does not find the maps to be the same.
        one = jax.lax.optimization_barrier(jnp.ones((), x.dtype))
        return jax.vjp(function, x * one)[1](upstream)

    computed.defvjp(lambda x: (function(x), x), backward)
    return computed


def strided_depthwise(x: jax.Array, kernel: jax.Array, strides: tuple[int, int]) -> jax.Array:
    """Returns a depthwise convolution with SAME padding, whose gradients are computed with few passes over memory.

    The input is padded once, for the convolution and for the kernel's gradient.
    cuDNN would compute the gradient of `x` from upstream pixels spread out among
    zeros, a map as large as `x` that must be written and read.

    Args:
      x: `(b, h, w, c)`.
      kernel: `(kernel height, kernel width, c, 1)`.
      strides: of rows and columns.

    Returns:
      `(b, ceil(h / stride), ceil(w / stride), c)`.
    """
    return _strided(x, kernel, strides, x.shape[1:3])


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _strided(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], size: tuple[int, int]) -> jax.Array:
    """Returns the convolution; `size` is the height and width of `x`, which its gradient needs."""
    return _strided_forward(x, kernel, strides, size)[0]


def _strided_forward(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], size: tuple[int, int]
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    rows, columns = jax.lax.padtype_to_pads(size, kernel.shape[:2], strides, "SAME")
    # Without the barrier, XLA moves the padding into each convolution, and cuDNN's own must be symmetric.
    padded = jax.lax.optimization_barrier(jnp.pad(x, ((0, 0), rows, columns, (0, 0))))
    return _valid_depthwise(padded, kernel, strides), (padded, kernel)


def _valid_depthwise(x: jax.Array, kernel: jax.Array, strides: tuple[int, int]) -> jax.Array:
    channels = x.shape[3]
    return jax.lax.conv_general_dilated(
        x,
        kernel.reshape(*kernel.shape[:2], 1, channels),
        window_strides=strides,
        padding="VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=channels,
    )


def _strided_backward(
    strides: tuple[int, int], size: tuple[int, int], kept: tuple[jax.Array, jax.Array], upstream: jax.Array
) -> tuple[jax.Array, jax.Array]:
    padded, kernel = kept
    # Without the barrier, XLA also writes the map in float32, as it was before it was rounded.
    upstream = jax.lax.optimization_barrier(upstream)
    (of_kernel,) = jax.vjp(lambda kernel: _valid_depthwise(padded, kernel, strides), kernel)[1](upstream)
    return _strided_input_gradient(upstream, kernel, strides, size), of_kernel


def _strided_input_gradient(
    upstream: jax.Array, kernel: jax.Array, strides: tuple[int, int], size: tuple[int, int]
) -> jax.Array:
    """Returns the gradient of the input as one element-wise sum over the upstream pixels that each pixel reaches.

    Pixel s q + r of the input, with stride s and 0 <= r < s, reaches the upstream pixels q + d for a few offsets d,
    through the kernel's tap r + p - s d, where p is the padding before the map.
    """
    batch, height, width, channels = upstream.shape
    pads = jax.lax.padtype_to_pads(size, kernel.shape[:2], strides, "SAME")
    taps = [_taps(*about) for about in zip(kernel.shape[:2], strides, (before for before, _ in pads), strict=True)]
    wide = kernel[..., 0].astype(jnp.float32)
    total = jnp.zeros((batch, height, strides[0], width, strides[1], channels), jnp.float32)
    for row, of_rows in taps[0].items():
        for column, of_columns in taps[1].items():
            moved = _moved(upstream, row, column).astype(jnp.float32)
            # A tap beyond the kernel is zero.
            weights = jnp.pad(wide, ((0, 1), (0, 1), (0, 0)))[jnp.array(of_rows)][:, jnp.array(of_columns)]
            total += moved[:, :, None, :, None] * weights[:, None]
    full = total.reshape(batch, height * strides[0], width * strides[1], channels)
    return full[:, : size[0], : size[1]].astype(upstream.dtype)


def _taps(kernel: int, stride: int, padding: int) -> dict[int, list[int]]:
    """Returns the tap for each remainder 0 <= r < stride, by the offset of the upstream pixel; `kernel` for no tap."""
    offsets = range(-((kernel - 1 - padding) // stride), (stride - 1 + padding) // stride + 1)
    return {
        offset: [
            tap if 0 <= (tap := remainder + padding - stride * offset) < kernel else kernel
            for remainder in range(stride)
        ]
        for offset in offsets
    }


def _moved(x: jax.Array, rows: int, columns: int) -> jax.Array:
    """Returns the map in which pixel (i, j) is pixel (i + rows, j + columns) of `x`, zero outside."""
    zero = jnp.zeros((), x.dtype)
    return jax.lax.pad(x, zero, ((0, 0, 0), (-rows, rows, 0), (-columns, columns, 0), (0, 0, 0)))


_strided.defvjp(_strided_forward, _strided_backward)
