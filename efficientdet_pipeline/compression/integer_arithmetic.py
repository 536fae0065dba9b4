"""An int8 network computed with the integers of the device, in floating point.

Sums of products of int8 numbers are whole numbers that float32 holds exactly
(below 2^24), so that convolutions can be computed with them; what is rounded
afterwards is rounded as XNNPACK, TFLite's kernels on CPUs, rounds it. Fake
quantization multiplies the scales in first, and so rounds one in some thousand
sums to the other side, which deep networks amplify.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf
from efficientdet.types import Tensor

_LEVELS = 255
_ADD_BITS = 20
"""XNNPACK adds with multipliers of 21 bits."""


class Grid(NamedTuple):
    """The numbers that a tensor can hold: scale times the whole numbers from lowest to highest."""

    scale: Tensor
    lowest: Tensor
    highest: Tensor

    @property
    def zero_point(self) -> Tensor:
        """The int8 number that stands for zero."""
        return -self.lowest - 128.0

    def nearest(self, whole: Tensor, *, ceiling: float | None = None) -> Tensor:
        """Returns whole numbers within the grid; `ceiling` is a largest value."""
        highest = self.highest
        if ceiling is not None:
            highest = tf.minimum(highest, tf.round(ceiling / single(self.scale)))
        return tf.clip_by_value(whole, self.lowest, highest)


class Whole(NamedTuple):
    """A tensor as whole numbers times a scale."""

    numbers: Tensor
    scale: Tensor

    @property
    def value(self) -> Tensor:
        """The numbers that it stands for."""
        return self.numbers * single(self.scale)


def grid_of(lowest: Tensor, highest: Tensor) -> Grid:
    """Returns the grid of 256 numbers between two, moved so that zero is one of them, as fake quantization has it."""
    # In float64, as the converter computes it: a scale that differs in its last bit rounds another way now and then.
    low, high = tf.cast(lowest, tf.float64), tf.cast(highest, tf.float64)
    scale = (high - low) / _LEVELS
    zero = tf.cast(tf.clip_by_value(tf.round(-low / scale), 0.0, float(_LEVELS)), tf.float32)
    return Grid(scale, -zero, _LEVELS - zero)


def rounded(x: Tensor, grid: Grid) -> Whole:
    """Returns float numbers on a grid."""
    # XNNPACK multiplies by the reciprocal in float32, which rounds numbers near the middle of two unlike a quotient.
    return Whole(grid.nearest(tf.round(x * (1.0 / single(grid.scale)))), grid.scale)


def requantized(sums: Tensor, scales: Sequence[Tensor], grid: Grid, activation: str | None = None) -> Whole:
    """Returns whole sums of a scale on a grid, after an activation that is fused: Relu, Relu6 or none.

    Args:
      sums: whole numbers.
      scales: whose product is the scale of the sums.
      grid: of the output.
      activation: that is fused.
    """
    whole = tf.round(sums * (math.prod(map(single, scales)) / single(grid.scale)))
    if activation in ("Relu", "Relu6"):
        whole = tf.maximum(whole, 0.0)
    return Whole(grid.nearest(whole, ceiling=6.0 if activation == "Relu6" else None), grid.scale)


def averaged(means: Tensor, source: Grid, grid: Grid) -> Whole:
    """Returns means of the numbers of a grid on another, rounded half to even in int8.

    LiteRT takes the means of int8 numbers, to which the zero point is added
    already, and adds both zero points before it rounds; all in float32.
    TensorFlow's own interpreter rounds half away from zero.
    """
    scale = single(source.scale) / single(grid.scale)
    offset = -source.zero_point * scale + grid.zero_point
    whole = tf.round((means + source.zero_point) * scale + offset)
    return Whole(grid.nearest(whole - grid.zero_point), grid.scale)


def added(first: Whole, second: Whole, grid: Grid, activation: str | None = None) -> Whole:
    """Returns the sum of two tensors on a grid, computed with multipliers of 21 bits and rounded half up."""
    ratios = [tf.cast(single(each.scale) / single(grid.scale), tf.float64) for each in (first, second)]
    exponent = tf.floor(tf.math.log(tf.maximum(*ratios)) / tf.math.log(tf.constant(2.0, tf.float64)))
    unit = tf.pow(tf.constant(2.0, tf.float64), _ADD_BITS - exponent)
    parts = [
        tf.cast(each.numbers, tf.float64) * tf.round(ratio * unit)
        for each, ratio in zip((first, second), ratios, strict=True)
    ]
    whole = tf.cast(tf.floor((parts[0] + parts[1]) / unit + 0.5), tf.float32)
    if activation in ("Relu", "Relu6"):
        whole = tf.maximum(whole, 0.0)
    return Whole(grid.nearest(whole, ceiling=6.0 if activation == "Relu6" else None), grid.scale)


def whole_kernel(kind: str, kernel: Tensor) -> Whole:
    """Returns a rounded kernel as whole numbers from -127 to 127, and the scale of each output channel."""
    axes, shape = list(range(len(kernel.shape) - 1)), [kernel.shape[-1]]
    if kind == "DepthwiseConv2dNative":
        axes, shape = [0, 1], list(kernel.shape[2:])
    largest = tf.maximum(tf.reduce_max(tf.abs(kernel), axis=axes), 1e-9)
    scale = tf.cast(largest, tf.float64) / 127.0
    return Whole(tf.round(kernel / tf.reshape(single(scale), shape)), tf.reshape(scale, (-1,)))


def whole_factor(factor: Tensor) -> Whole:
    """Returns a constant as a file holds it: the last of 256 numbers between zero and it, and their distance."""
    size = tf.maximum(tf.abs(tf.cast(factor, tf.float64)), 1e-9)
    return Whole(tf.sign(factor) * _LEVELS, size / _LEVELS)


def single(scale: Tensor) -> Tensor:
    """Returns a scale as a file holds it: in float32. The converter itself computes in float64."""
    return tf.cast(scale, tf.float32)
