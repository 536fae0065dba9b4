"""The quick gradient of a depthwise convolution is the gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from efficientdet import depthwise
from efficientdet.depthwise import DepthwiseConv2D


def gradients(layer: keras.layers.Layer, x: np.ndarray, training: bool) -> list[np.ndarray]:
    with tf.GradientTape() as tape:
        image = tf.constant(x)
        tape.watch(image)
        y = layer(image, training=training)
        # Each place counts differently, so that a shifted gradient is another one.
        loss = tf.reduce_sum(y * tf.reshape(tf.range(tf.size(y), dtype="float32") % 7.0, y.shape))
    return [y.numpy(), *(each.numpy() for each in tape.gradient(loss, [image, layer.kernel.value]))]


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 6), (7, 11), (2, 3), (1, 1)])
@pytest.mark.parametrize("window", [3, 5, 7])
def test_its_numbers_are_those_of_the_plain_layer(window: int, height: int, width: int, strides: int) -> None:
    layer = DepthwiseConv2D(window, strides=strides, padding="same", use_bias=False)
    x = np.random.default_rng(0).normal(size=(2, height, width, 4)).astype("float32")
    layer.build(x.shape)
    for quick, plain in zip(gradients(layer, x, True), gradients(layer, x, False), strict=True):
        np.testing.assert_allclose(quick, plain, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("window", "is_changed"), [(3, False), (5, True)])
def test_only_wide_kernels_in_training_take_the_other_way(
    window: int, is_changed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    monkeypatch.setattr(depthwise, "_convolved", lambda x, kernel, strides: taken.append(1) or x)
    layer = DepthwiseConv2D(window, padding="same")
    for training in (False, True):
        layer(np.zeros((1, 4, 4, 2), "float32"), training=training)
        assert bool(taken) == (is_changed and training)
