"""Convolution and normalization layers of BiT's ResNetV2: weight-standardized kernels, group norm and alternatives."""

from collections.abc import Callable, Sequence

import keras
from keras import ops

from efficientdet.activations import ACTIVATIONS
from efficientdet.layers import BatchNormalization, NumpyInitializer
from efficientdet.types import Tensor

KERNELS = NumpyInitializer("truncated_normal", variance=2.0, fan="in")


class WeightStandardizedConv2D(keras.layers.Layer):
    """A convolution whose kernel has mean 0 and variance 1 per output channel.

    Qiao et al. 2019, "Weight Standardization". Padding is symmetric, as in
    PyTorch, or TensorFlow's SAME. There is no bias.

    Takes `(b, h, w, c)`; returns `(b, height, width, filters)`.
    """

    EPSILON = 1e-8

    def __init__(self, filters: int, kernel: int, *, strides: int = 1, padding: str = "symmetric", name: str) -> None:
        super().__init__(name=name)
        self.filters = filters
        self.kernel_side = kernel
        self.strides = (strides, strides)
        self.padding = padding

    def build(self, input_shape: Sequence[int | None]) -> None:
        side = self.kernel_side
        self.kernel = self.add_weight(
            name="kernel", shape=(side, side, input_shape[-1], self.filters), initializer=KERNELS
        )

    def call(self, x: Tensor) -> Tensor:
        kernel = ops.cast(self.kernel, "float32")
        mean = ops.mean(kernel, axis=(0, 1, 2), keepdims=True)
        variance = ops.mean(ops.square(kernel - mean), axis=(0, 1, 2), keepdims=True)
        kernel = ops.cast((kernel - mean) * ops.rsqrt(variance + self.EPSILON), x.dtype)
        if self.padding == "same":
            return ops.conv(x, kernel, self.strides, padding="same")
        side = (self.kernel_side - 1) // 2
        x = ops.pad(x, ((0, 0), (side, side), (side, side), (0, 0))) if side else x
        return ops.conv(x, kernel, self.strides, padding="valid")

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.filters)


class Affine(keras.layers.Layer):
    """A scale and an offset per channel. Takes and returns `(b, h, w, c)`."""

    def build(self, input_shape: Sequence[int | None]) -> None:
        self.gamma = self.add_weight(name="gamma", shape=(input_shape[-1],), initializer="ones")
        self.beta = self.add_weight(name="beta", shape=(input_shape[-1],), initializer="zeros")

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        return x * ops.cast(self.gamma, x.dtype) + ops.cast(self.beta, x.dtype)


class GroupNorm(keras.layers.GroupNormalization):
    """Keras's group normalization, called like the other normalizations. Takes and returns `(b, h, w, c)`."""

    def build(self, input_shape: Sequence[int | None]) -> None:
        if self.groups > 1 and (input_shape[-1] or 0) % self.groups:
            raise ValueError(
                f"group_norm divides channels into {self.groups} groups. Received {input_shape[-1]} channels; "
                "choose nb_channels and width_factor that give multiples, or norm_layer=group_norm_1grp."
            )
        super().build(input_shape)

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        return super().call(x)


class LayerNorm(keras.layers.LayerNormalization):
    """Keras's layer normalization over channels, called like the other normalizations."""

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        return super().call(x)


class Identity(keras.layers.Layer):
    """No normalization. Takes and returns `(b, h, w, c)`."""

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates nothing: the layer has no weights."""

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        return x


NORMS: dict[str, Callable[[str], keras.layers.Layer]] = {
    "": lambda name: Identity(name=name),
    "batch_norm": lambda name: BatchNormalization(momentum=0.9, epsilon=1e-5, name=name),
    "layer_norm": lambda name: LayerNorm(epsilon=1e-5, name=name),
    "layer_norm_eps_1e-6": lambda name: LayerNorm(epsilon=1e-6, name=name),
    "affine": lambda name: Affine(name=name),
    "group_norm": lambda name: GroupNorm(groups=32, epsilon=1e-5, name=name),
    "group_norm_1grp": lambda name: GroupNorm(groups=1, epsilon=1e-5, name=name),
}
"""norm_layer → a function from a name to the normalization layer."""

LAYER_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    **ACTIVATIONS,
    "": lambda x: x,
    "linear": lambda x: x,
    "gelu": lambda x: ops.gelu(x, approximate=False),
    "sigmoid": ops.sigmoid,
}
"""act_layer → activation function."""
