"""What a CPU computes quicker another way than TensorFlow's usual one; everywhere else it is the usual one."""

from collections.abc import Callable
from typing import Any

import keras

from efficientdet.types import Tensor

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
else:
    tf = None

_QUICK_WIDTH = 3
"""The widest kernel that oneDNN has a quick gradient of."""
_LARGE = 500_000
"""Numbers an image from which a chain of sums and products is worth compiling; below, the call costs what it saves."""


def is_at_work() -> bool:
    """Returns whether TensorFlow computes, on a CPU."""
    return tf is not None and not tf.config.list_logical_devices("GPU")


class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """Keras's layer, whose gradient takes another way to the same numbers.

    oneDNN, which TensorFlow's CPU kernels are made of, computes the gradient of
    a kernel wider than three some six times slower than that of a narrower one:
    a sixth of D0's whole training step. It leaves convolutions with padding
    given in numbers to TensorFlow's own kernel, which takes a third of that.

    Takes `(b, h, w, c)` and gives `(b, height, width, c)`.
    """

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or self.kernel_size[1] <= _QUICK_WIDTH or not is_at_work():
            return super().call(inputs)
        return _convolved(inputs, tf.convert_to_tensor(self.kernel), self.strides)


def _convolved(x: Tensor, kernel: Tensor, strides: tuple[int, int]) -> Tensor:
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


def _same_padding(size: int, window: int, stride: int) -> tuple[int, int]:
    """Returns what SAME lays before and behind an axis."""
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def fused(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Returns a function of tensors of one shape, `(b, h, w, c)`, that goes over large ones once.

    TensorFlow would go over them for each sum and product of `function`; XLA
    makes one pass of all.
    """
    if tf is None:
        return function
    compiled = tf.function(function, jit_compile=True, autograph=False)

    def called(*inputs: Tensor) -> Tensor:
        a_photo = tf.TensorShape(inputs[0].shape[1:]).num_elements()
        is_large = len(inputs[0].shape) == 4 and a_photo is not None and a_photo >= _LARGE
        return compiled(*inputs) if is_large and is_at_work() else function(*inputs)

    return called
