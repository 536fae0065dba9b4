"""The integer network: near the fake-quantized one, whatever operations the network has."""

import keras
import numpy as np
import tensorflow as tf

from efficientdet_pipeline.compression.fake_quantization import QuantizedNetwork

SIDE = 8


def network() -> keras.Model:
    keras.utils.set_random_seed(1)
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    gate = keras.layers.Conv2D(8, 1, activation="sigmoid")(keras.ops.mean(x, axis=(1, 2), keepdims=True))
    y = keras.layers.DepthwiseConv2D(3, padding="same")(x * gate) * 0.3 + x
    pooled = keras.layers.MaxPooling2D(2)(y)
    grown = keras.layers.Conv2DTranspose(4, 2, strides=2)(pooled)
    joined = keras.ops.concatenate([y, grown], axis=-1)
    return keras.Model(image, keras.ops.tanh(keras.layers.Conv2D(2, 1)(joined)))


def test_integer_network_gives_what_fake_quantization_gives_to_a_few_steps() -> None:
    quantized = QuantizedNetwork(network(), (SIDE, SIDE))
    images = np.random.default_rng(0).standard_normal((4, SIDE, SIDE, 3)).astype("float32")
    quantized.calibrate(images)
    whole = np.asarray(quantized(images))
    fake = np.asarray(quantized.outputs_of(tf.constant(images), quantized.weight_tensors()))
    assert np.abs(whole - fake).max() <= 4 / 128
    assert np.mean(whole == fake) > 0.8
    assert np.array_equal(whole * 128, np.round(whole * 128))
