"""Faster implementations for TensorFlow on CPUs, and of one layer for JAX on GPUs; others use the usual ones."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from efficientdet.types import Tensor

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
else:
    tf = None
if keras.backend.backend() == "jax":
    import jax

    from efficientdet.jax_kernels import strided_depthwise

_QUICK_WIDTH = 3
"""The widest kernel whose gradient is fast in oneDNN."""
_LARGE = 200_000
"""Elements per image from which compiling an element-wise chain pays off; below, the call costs more than it saves."""


def is_at_work() -> bool:
    """Returns whether TensorFlow is the backend and runs on a CPU."""
    return tf is not None and not tf.config.list_logical_devices("GPU")


def is_gpu_of_jax() -> bool:
    """Returns whether JAX is the backend and runs on a GPU."""
    return keras.backend.backend() == "jax" and jax.default_backend() == "gpu"


class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """Keras's depthwise convolution with a faster gradient on CPUs, and on GPUs with JAX.

    oneDNN, which implements TensorFlow's CPU kernels, computes the gradient of
    a kernel wider than three about six times slower than that of a narrower
    one: a sixth of D0's training step. For convolutions with explicit padding
    TensorFlow uses its own kernel, which takes a third of that time. On GPUs,
    see `jax_kernels.strided_depthwise`.

    Takes `(b, h, w, c)`; returns `(b, height, width, c)`.
    """

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if training and max(self.strides) > 1 and is_gpu_of_jax():
            return strided_depthwise(inputs, ops.convert_to_tensor(self.kernel), self.strides)
        if not training or self.kernel_size[1] <= _QUICK_WIDTH or not is_at_work():
            return super().call(inputs)
        return depthwise_convolved(inputs, tf.convert_to_tensor(self.kernel), self.strides)


def depthwise_convolved(x: Tensor, kernel: Tensor, strides: tuple[int, int]) -> Tensor:
    """Returns the convolution with SAME padding."""
    steps = (1, *strides, 1)
    windows = zip(x.shape[1:3], kernel.shape[:2], strides, strict=True)
    paddings = [(0, 0), *(_same_padding(*window) for window in windows), (0, 0)]

    @tf.custom_gradient
    def convolved(x: Tensor, kernel: Tensor) -> tuple[Tensor, Callable[..., Any]]:
        def gradient(upstream: Tensor) -> tuple[Tensor, Tensor]:
            of_x = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=tf.shape(x), filter=kernel, out_backprop=upstream, strides=steps, padding="SAME"
            )
            of_kernel = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                input=x,
                filter_sizes=kernel.shape,
                out_backprop=upstream,
                strides=steps,
                padding="EXPLICIT",
                explicit_paddings=[side for sides in paddings for side in sides],
            )
            return of_x, of_kernel

        return tf.nn.depthwise_conv2d(x, kernel, steps, "SAME"), gradient

    return convolved(x, kernel)


def squeeze_excited(x: Tensor, weights: Sequence[Tensor], gate_of: Callable[..., Tensor]) -> Tensor:
    """Returns `x` times a gate per channel that depends on the means of `x`, with a gradient of fewer passes.

    TensorFlow's gradient writes three maps of the size of `x` (through the product,
    through the mean, and their sum); here they are one. The numbers are the same;
    for large inputs they are rounded once less.

    Args:
      x: `(b, h, w, c)`.
      weights: variables of the gate, which receive gradients.
      gate_of: from means `(b, c)` and the weights to the gate `(b, c)`.
    """

    @tf.custom_gradient
    def excited(x: Tensor, *weights: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, ...]]]:
        means = keras.ops.mean(x, axis=(1, 2))
        with tf.GradientTape() as tape:
            tape.watch([means, *weights])
            gate = gate_of(means, *weights)
        wide_gate = gate[:, None, None, :]

        def gradient(upstream: Tensor) -> tuple[Tensor, ...]:
            of_gate = tf.reduce_sum(upstream * x, axis=(1, 2))
            of_means, *of_weights = tape.gradient(gate, [means, *weights], output_gradients=of_gate)
            num_pixels = tf.cast(tf.reduce_prod(tf.shape(x)[1:3]), x.dtype)
            return _product_plus(upstream, wide_gate, (of_means / num_pixels)[:, None, None, :]), *of_weights

        return x * wide_gate, gradient

    return excited(x, *map(tf.convert_to_tensor, weights))


def _same_padding(size: int, window: int, stride: int) -> tuple[int, int]:
    """Returns the padding of SAME before and after an axis."""
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def is_compiled(x: Tensor) -> bool:
    """Returns whether functions that are `fused` are compiled for a tensor: a large `(b, h, w, c)` on a CPU."""
    num_elements = tf.TensorShape(x.shape[1:]).num_elements() if tf is not None and len(x.shape) == 4 else None
    return num_elements is not None and num_elements >= _LARGE and is_at_work()


def fused(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Returns an element-wise function of tensors `(b, h, w, c)`, compiled by XLA if the first one is large.

    TensorFlow passes over memory once for each operation of `function`; XLA
    fuses them into one pass.
    """
    if tf is None:
        return function
    compiled = tf.function(function, jit_compile=True, autograph=False)
    return lambda *inputs: compiled(*inputs) if is_compiled(inputs[0]) else function(*inputs)


@fused
def _product_plus(x: Tensor, factor: Tensor, summand: Tensor) -> Tensor:
    return x * factor + summand
