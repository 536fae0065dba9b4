"""Tests of the fast CPU implementations against the usual ones."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from efficientdet import cpu_kernels
from efficientdet.activations import ACTIVATIONS
from efficientdet.backbones.efficientnet import SqueezeExcite
from efficientdet.cpu_kernels import DepthwiseConv2D, fused


def gradients(layer: keras.layers.Layer, x: np.ndarray, training: bool) -> list[np.ndarray]:
    with tf.GradientTape() as tape:
        image = tf.constant(x)
        tape.watch(image)
        y = layer(image, training=training)
        # Each location has another weight, so that a shifted gradient differs.
        loss = tf.reduce_sum(y * tf.reshape(tf.range(tf.size(y), dtype="float32") % 7.0, y.shape))
    return [y.numpy(), *(each.numpy() for each in tape.gradient(loss, [image, layer.kernel.value]))]


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 6), (7, 11), (2, 3), (1, 1)])
@pytest.mark.parametrize("window", [3, 5, 7])
def test_cpu_kernels_its_numbers_are_those_of_the_plain_layer(
    window: int, height: int, width: int, strides: int
) -> None:
    layer = DepthwiseConv2D(window, strides=strides, padding="same", use_bias=False)
    x = np.random.default_rng(0).normal(size=(2, height, width, 4)).astype("float32")
    layer.build(x.shape)
    for quick, plain in zip(gradients(layer, x, True), gradients(layer, x, False), strict=True):
        np.testing.assert_allclose(quick, plain, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("window", "is_changed"), [(3, False), (5, True)])
def test_cpu_kernels_only_wide_kernels_in_training_take_the_other_way(
    window: int, is_changed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    monkeypatch.setattr(cpu_kernels, "depthwise_convolved", lambda x, kernel, strides: taken.append(1) or x)
    layer = DepthwiseConv2D(window, padding="same")
    for training in (False, True):
        layer(np.zeros((1, 4, 4, 2), "float32"), training=training)
        assert bool(taken) == (is_changed and training)


@pytest.mark.parametrize("in_graph", [False, True])
def test_cpu_kernels_large_map_has_the_gradient_of_a_small_one(in_graph: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x = tf.constant(np.random.default_rng(0).normal(0, 4, (2, 5, 7, 3)).astype("float32"))

    def gradient() -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(ACTIVATIONS["swish"](x) * x)
        return tape.gradient(y, x)

    small = gradient().numpy()
    monkeypatch.setattr(cpu_kernels, "_LARGE", 1)
    large = (tf.function(gradient) if in_graph else gradient)().numpy()
    np.testing.assert_allclose(large, small, rtol=1e-5, atol=1e-6)


def test_cpu_kernels_only_large_maps_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []

    @fused
    def double(x: tf.Tensor) -> tf.Tensor:
        names.append("traced" if not tf.executing_eagerly() else "eager")
        return x + x

    monkeypatch.setattr(cpu_kernels, "_LARGE", 60)
    for shape in ((2, 3, 4, 4), (2, 4, 4, 4), (64,), (2, 64)):
        np.testing.assert_array_equal(double(tf.ones(shape)).numpy(), 2)
    assert names == ["eager", "traced", "eager", "eager"]


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize(("large", "tolerance"), [(10**9, 0.0), (1, 1e-5)])
def test_cpu_kernels_squeeze_excite_has_the_gradient_of_the_plain_layer(
    large: int, tolerance: float, in_graph: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = SqueezeExcite(3, "swish")
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 5, 7, 6)).astype("float32"))
    layer.build(x.shape)
    monkeypatch.setattr(cpu_kernels, "_LARGE", large)

    def found(training: bool) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=training)
            loss = tf.reduce_sum(y * tf.reshape(tf.range(tf.size(y), dtype="float32") % 7.0, y.shape))
        return [y, *tape.gradient(loss, [x, *(weight.value for weight in layer.trainable_variables)])]

    run = tf.function(found) if in_graph else found
    assert len(layer.trainable_variables) == 4
    for quick, plain in zip(run(True), run(False), strict=True):
        np.testing.assert_allclose(quick.numpy(), plain.numpy(), rtol=tolerance, atol=tolerance)
