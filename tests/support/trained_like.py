"""Networks whose activations vary as those of a trained network do, for tests of rounding."""

import keras
import numpy as np
import tensorflow as tf
from efficientdet.layers import BatchNormalization

from efficientdet_pipeline.inference.canvas import normalized


def take_statistics(network: keras.Model, images: np.ndarray) -> keras.Model:
    """Gives a detector the batch statistics of images, as training leaves them, and returns it.

    With those of initialization, activations vanish within the depth of a whole
    network, and nothing is left to round. The outputs of the heads become as
    large as those of a trained detector.

    Args:
      network: with random weights, which are changed.
      images: (b, h, w, 3), uint8.
    """
    for variable in network.variables:
        if "predict" in variable.path:
            variable.assign(variable.value * (30 if "kernel" in variable.name else 0))
    for layer in network._flatten_layers():
        if isinstance(layer, BatchNormalization):
            layer.momentum = 0.0
    network(normalized(tf.constant(images, tf.float32), network.config), training=True)
    return network
