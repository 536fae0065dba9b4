"""Layers that backbone, neck and heads share.

`b` batch, `h w` height and width, `c` channels.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from efficientdet.types import Tensor

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
else:
    tf = None
if keras.backend.backend() == "jax":
    from efficientdet.jax_kernels import batch_normalize


class NumpyInitializer(keras.initializers.Initializer):
    """Initializer of kernels that draws random numbers with numpy.

    Values are the same on every backend after `keras.utils.set_random_seed`, and
    drawing is fast: JAX compiles a program for each shape, half a minute for D0.

    Args:
      distribution: normal, truncated_normal (at two deviations) or uniform.
      variance: of the values, times the fan.
      fan: in, out or average: the connections by which the variance is divided; one: no division.
    """

    def __init__(self, distribution: str, *, variance: float = 1.0, fan: str = "one") -> None:
        self.distribution = distribution
        self.variance = variance
        self.fan = fan

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        receptive = int(np.prod(shape[:-2]))
        fans: dict[str, float] = {"in": receptive * shape[-2], "out": receptive * shape[-1], "one": 1}
        fans["average"] = (fans["in"] + fans["out"]) / 2
        numbers = self._unit_numbers(tuple(shape)) * np.float32(np.sqrt(self.variance / max(fans[self.fan], 1)))
        return ops.convert_to_tensor(numbers, dtype=dtype or "float32")

    def _unit_numbers(self, shape: tuple[int, ...]) -> np.ndarray:
        # Keras seeds numpy's global generator too; a generator of its own is faster.
        generator = np.random.default_rng(np.random.randint(2**31))
        if self.distribution == "uniform":
            return (generator.random(shape, dtype="float32") * 2 - 1) * np.float32(np.sqrt(3))
        numbers = generator.standard_normal(shape, dtype="float32")
        if self.distribution == "truncated_normal":
            while (outside := np.abs(numbers) > 2).any():
                numbers[outside] = generator.standard_normal(int(outside.sum()), dtype="float32")
            # Factor by which truncation reduces the standard deviation.
            numbers /= np.float32(0.87962566)
        return numbers

    def get_config(self) -> dict[str, Any]:
        return {"distribution": self.distribution, "variance": self.variance, "fan": self.fan}


GLOROT_UNIFORM = NumpyInitializer("uniform", fan="average")
"""Glorot and Bengio, 2010: the default of automl's kernels."""


class Statistics(NamedTuple):
    """Batch statistics of one normalization layer."""

    layer: "BatchNormalization"
    mean: Tensor
    variance: Tensor
    """Unbiased."""


class _Collectors(threading.local):
    """The lists being filled, innermost last; each replica of a strategy traces in its own thread."""

    def __init__(self) -> None:
        self.open: list[list[Statistics]] = []


_collectors = _Collectors()


@contextlib.contextmanager
def collected_statistics() -> Iterator[list[Statistics]]:
    """Yields a list that receives the batch statistics computed inside the context; moving statistics do not change.

    A step knows only at its end whether its loss is finite. It then calls
    `move_statistics` to update the moving statistics.
    """
    collected: list[Statistics] = []
    _collectors.open.append(collected)
    try:
        yield collected
    finally:
        _collectors.open.pop()


def move_statistics(collected: Sequence[Statistics]) -> None:
    """Updates moving statistics with batch statistics, or passes them to the enclosing collector."""
    if _collectors.open:
        _collectors.open[-1].extend(collected)
        return
    for layer, mean, variance in collected:
        for moving, batch in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            move_towards(moving, batch, 1.0 - layer.momentum)


def move_towards(variable: keras.Variable, target: Tensor, share: Tensor | float) -> None:
    """Moves a variable by a fraction `share` towards a tensor.

    On TensorFlow in place and in two operations: a step updates over a
    thousand moving averages. Each replica of a strategy updates its own.
    """
    difference = variable - target
    if tf is not None:
        tf.raw_ops.ResourceApplyGradientDescent(var=variable.value.handle, alpha=share, delta=difference)
    else:
        variable.assign(variable - difference * share)


def recomputed(function: Callable[..., Any], *inputs: Tensor) -> Any:
    """Returns `function(*inputs)` with gradient checkpointing: activations are recomputed for the gradient, not stored.

    Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost". Batch
    statistics are returned as outputs, so that they are collected only once.

    Args:
      function: from tensors to a structure of tensors; it changes variables
        only through `move_statistics`.
      *inputs: tensors that receive gradients, besides the variables.
    """
    around: list[Any] = []

    def computed(*inputs: Tensor) -> tuple[Tensor, ...]:
        with collected_statistics() as collected:
            outputs = function(*inputs)
        # `custom_gradient` returns tensors only; everything else is kept in this list.
        around[:] = keras.tree.map_structure(lambda _: 0, outputs), [layer for layer, *_ in collected]
        return (*keras.tree.flatten(outputs), *(ops.stop_gradient(value) for _, *pair in collected for value in pair))

    values = list(keras.remat(computed)(*inputs))
    structure, layers = around
    num_outputs = len(values) - 2 * len(layers)
    move_statistics(list(map(Statistics, layers, values[num_outputs::2], values[num_outputs + 1 :: 2])))
    return keras.tree.pack_sequence_as(structure, values[:num_outputs])


class BatchNormalization(keras.layers.Layer):
    """Batch normalization with automl's defaults: momentum 0.99, epsilon 0.001.

    The moving variance is updated with the *unbiased* variance of a batch, and the
    normalization uses the biased one, as in TensorFlow's fused kernel, which takes
    three quarters of the time of separate operations.

    Takes and returns `(b, h, w, c)`. A `bias` of the input and a `factor` of the
    output, `(c,)`, cost nothing in training, and on JAX neither does an activation
    of the output. Set `synchronized` before the first step to compute statistics
    over all replicas of a `tf.distribute` strategy; on JAX they always are.
    """

    def __init__(self, *, momentum: float = 0.99, epsilon: float = 1e-3, **options: Any) -> None:
        super().__init__(**options)
        self.momentum = momentum
        self.epsilon = epsilon
        self.synchronized = False

    def build(self, input_shape: Sequence[int | None]) -> None:
        def weight(name: str, initializer: str, trainable: bool) -> keras.Variable:
            # Outside of replicas, the value of a statistic is the mean over replicas.
            aggregation = "none" if trainable else "mean"
            return self.add_weight(
                name=name,
                shape=(input_shape[-1],),
                initializer=initializer,
                trainable=trainable,
                dtype="float32",
                autocast=False,
                aggregation=aggregation,
            )

        self.gamma = weight("gamma", "ones", True)
        self.beta = weight("beta", "zeros", True)
        self.moving_mean = weight("moving_mean", "zeros", False)
        self.moving_variance = weight("moving_variance", "ones", False)

    def call(
        self,
        x: Tensor,
        training: bool = False,
        bias: Tensor | None = None,
        factor: Tensor | None = None,
        activation: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        training = bool(training) and self.trainable
        affine = [self.gamma.value, self.beta.value]
        if bias is not None and training:
            # The batch mean cancels it; it keeps a gradient, of zero.
            affine[1] = affine[1] + 0.0 * ops.cast(bias, "float32")
        elif bias is not None:
            x = x + ops.cast(bias, x.dtype)
        if factor is not None:
            affine = [each * ops.cast(factor, "float32") for each in affine]
        if training and keras.backend.backend() == "jax":
            y, mean, variance = batch_normalize(x, *affine, self.epsilon, activation)
        else:
            is_separate = tf is None or (training and self.synchronized)
            normalized = self._from_separate_operations if is_separate else self._from_fused_kernel
            y, mean, variance = normalized(x, affine, training)
            y = y if activation is None else activation(y)
        if training:
            mean = mean if bias is None else mean + ops.cast(bias, "float32")
            move_statistics([Statistics(self, mean, variance)])
        return y

    def _from_fused_kernel(self, x: Tensor, affine: Sequence[Tensor], training: bool) -> tuple[Tensor, Tensor, Tensor]:
        gamma, beta = affine
        mean, variance = ([], []) if training else (self.moving_mean, self.moving_variance)
        normalized, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=gamma, offset=beta, mean=mean, variance=variance, epsilon=self.epsilon, is_training=training
        )
        return normalized, mean, variance

    def _from_separate_operations(
        self, x: Tensor, affine: Sequence[Tensor], training: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        gamma, beta = affine
        mean, variance, unbiased = self.moving_mean, self.moving_variance, self.moving_variance
        wide = ops.cast(x, "float32")
        if training:
            mean, variance, count = self._moments(wide)
            unbiased = variance * (count / ops.maximum(count - 1.0, 1.0))
        scale = gamma * ops.rsqrt(variance + self.epsilon)
        return ops.cast(wide * scale + (beta - mean * scale), x.dtype), mean, unbiased

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns mean, biased variance and number of values, over all replicas."""
        count = ops.cast(ops.prod(ops.shape(x)[:3]), "float32")
        mean = ops.mean(x, axis=(0, 1, 2))
        variance = ops.mean(ops.square(x - mean), axis=(0, 1, 2))
        replica = tf.distribute.get_replica_context()
        own_mean, mean = mean, replica.all_reduce(tf.distribute.ReduceOp.MEAN, mean)
        spread = variance + ops.square(own_mean - mean)
        variance = replica.all_reduce(tf.distribute.ReduceOp.MEAN, spread)
        return mean, variance, count * replica.num_replicas_in_sync

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"momentum": self.momentum, "epsilon": self.epsilon}


class DropPath(keras.layers.Layer):
    """Stochastic depth: in training, the preceding layer is skipped for a random subset of samples.

    The selection is a function of (seed, step, `index`, sample) only. The layer
    has no state, so a resumed run drops the same samples as an uninterrupted
    one, on either backend. Kept samples are divided by the survival
    probability. Huang et al., 2016.

    Takes `(b, h, w, c)` and the model's `drop_path_seed` of the step.
    """

    def __init__(self, survival_prob: float, index: int, **options: Any) -> None:
        super().__init__(**options)
        self.survival_prob = survival_prob
        self.index = index

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates nothing: the layer has no weights."""

    def call(self, x: Tensor, seed: Tensor | None = None, training: bool = False) -> Tensor:
        if not training or seed is None or self.survival_prob >= 1.0:
            return x
        chance = uniform_of(seed, self.index, ops.shape(x)[0])
        factor = ops.where(chance < self.survival_prob, 1.0 / self.survival_prob, 0.0)
        return x * ops.cast(ops.reshape(factor, (-1, 1, 1, 1)), x.dtype)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"survival_prob": self.survival_prob, "index": self.index}


def uniform_of(seed: Tensor, index: int, size: int | Tensor) -> Tensor:
    """Returns random numbers in [0, 1) that depend only on the arguments, the same on every backend.

    Args:
      seed: two uint32, seed and step; four for a part of a batch, with the
        index of the part and the number of interleaved parts.
      index: distinguishes layers that use the same seed.
      size: how many numbers.
    """

    def mixed(bits: Tensor) -> Tensor:
        # Finalizer of MurmurHash3 (Appleby): every input bit affects every output bit.
        bits = ops.bitwise_xor(bits, ops.right_shift(bits, ops.cast(16, "uint32")))
        bits = bits * ops.cast(0x85EBCA6B, "uint32")
        bits = ops.bitwise_xor(bits, ops.right_shift(bits, ops.cast(13, "uint32")))
        bits = bits * ops.cast(0xC2B2AE35, "uint32")
        return ops.bitwise_xor(bits, ops.right_shift(bits, ops.cast(16, "uint32")))

    seed = ops.cast(seed, "uint32")
    bits = mixed(mixed(seed[0] + ops.cast(0x9E3779B9, "uint32")) + seed[1])
    bits = mixed(bits + ops.cast(index, "uint32"))
    places = ops.cast(ops.arange(size, dtype="int32"), "uint32")
    if seed.shape[0] == 4:
        places = places * seed[3] + seed[2]
    bits = mixed(bits + places)
    return ops.cast(ops.right_shift(bits, ops.cast(8, "uint32")), "float32") / 2.0**24


def conv3x3(filters: int, *, separable: bool, initializer: Any = GLOROT_UNIFORM, **options: Any) -> keras.layers.Layer:
    """Returns a 3x3 convolution that preserves height and width.

    Args:
      filters: number of output channels.
      separable: whether it is a depthwise and a 1x1 convolution; else a full one.
      initializer: of all kernels.
      **options: further arguments of the Keras layer, such as use_bias.
    """
    if not separable:
        return keras.layers.Conv2D(filters, 3, padding="same", kernel_initializer=initializer, **options)
    initializers = {"depthwise_initializer": initializer, "pointwise_initializer": initializer}
    return keras.layers.SeparableConv2D(filters, 3, padding="same", **initializers, **options)


class Resample(keras.layers.Layer):
    """Resizes a feature map to the size and channels of another level.

    Channels change by a 1x1 convolution and a normalization, only if they
    differ. Downsampling is max pooling. Upsampling is nearest neighbor: row i of
    the output is row floor(i * input height / output height) of the input,
    without half-pixel centers, which would shift feature maps relative to
    checkpoints.

    Takes `(b, h, w, c)`; returns `(b, height, width, filters)`.
    """

    def __init__(self, filters: int, *, normalize: bool, conv_after_downsample: bool, **options: Any) -> None:
        super().__init__(**options)
        self.conv: keras.layers.Layer | None = None
        self.norm: keras.layers.Layer | None = None
        self.filters = filters
        self.normalize = normalize
        self.conv_after_downsample = conv_after_downsample

    def build(self, input_shape: Sequence[int | None]) -> None:
        if input_shape[-1] == self.filters:
            return
        self.conv = keras.layers.Conv2D(self.filters, 1, kernel_initializer=GLOROT_UNIFORM, name="conv")
        self.conv.build(input_shape)
        if self.normalize:
            self.norm = BatchNormalization(name="norm")
            self.norm.build((*input_shape[:-1], self.filters))

    def call(self, x: Tensor, size: tuple[int, int], training: bool = False) -> Tensor:
        shrinks = x.shape[1] > size[0] or x.shape[2] > size[1]
        if shrinks and self.conv_after_downsample:
            return self._with_channels(max_pooled(x, size), training)
        x = self._with_channels(x, training)
        return max_pooled(x, size) if shrinks else nearest_upsampled(x, size)

    def _with_channels(self, x: Tensor, training: bool) -> Tensor:
        if self.conv is not None:
            x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x, training=training)
        return x


def max_pooled(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Returns the feature map reduced to (height, width) by max pooling with overlapping windows.

    The window is one larger than the stride. Padding is minus infinity; if the
    total padding is odd, the end gets one more.
    """
    strides = tuple((have - 1) // want + 1 for have, want in zip(x.shape[1:3], size, strict=True))
    windows = tuple(stride + 1 for stride in strides)
    return ops.max_pool(x, windows, strides, padding="same")


def nearest_upsampled(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Returns the feature map enlarged to (height, width) by repeating rows and columns."""
    (height, width), channels = x.shape[1:3], x.shape[3]
    for axis, have, want in ((1, height, size[0]), (2, width, size[1])):
        if want % have:
            x = ops.take(x, [index * have // want for index in range(want)], axis=axis)
    # Concatenating copies gives repeated rows or columns: faster than a resize, and so is its gradient.
    down, across = (want // have if want % have == 0 else 1 for have, want in ((height, size[0]), (width, size[1])))
    if across > 1:
        x = ops.reshape(ops.concatenate([x] * across, axis=-1), (-1, x.shape[1], size[1], channels))
    if down > 1:
        rows = ops.reshape(x, (-1, x.shape[1], size[1] * channels))
        x = ops.reshape(ops.concatenate([rows] * down, axis=-1), (-1, *size, channels))
    return x
