"""Network outputs on JAX as NumPy arrays, for post-processing in TensorFlow."""

from collections.abc import Callable
from typing import Any

import jax
import keras
import numpy as np
from efficientdet.detectors.detector import OneStageDetector


def network_function(detector: keras.Model) -> Callable[[Any], Any]:
    """Returns a function of canvases (b, H, W, 3) that returns the raw outputs of a network with its current weights.

    Of a detector built from parts they are decoded: boxes and scores.

    It runs on one device of this process, with that device's weights, so that
    other processes need not take part.
    """

    @jax.jit
    def outputs_of(trainable: list[Any], others: list[Any], images: Any) -> Any:
        outputs = detector.stateless_call(trainable, others, images, training=False)[0]
        if isinstance(detector, OneStageDetector):
            # Its head decodes on this backend.
            return detector.decode(outputs)._asdict()
        return outputs

    most = 0

    def network(images: Any) -> Any:
        nonlocal most
        images = np.asarray(images)
        number, most = len(images), max(most, len(images))
        # A smaller batch would compile again, so it is padded.
        padded = np.pad(images, ((0, most - number), (0, 0), (0, 0), (0, 0)))
        groups = (detector.trainable_variables, detector.non_trainable_variables)
        values = [[variable.value.addressable_data(0) for variable in group] for group in groups]
        outputs = outputs_of(*values, jax.device_put(padded, values[0][0].device))
        return jax.tree.map(lambda x: np.asarray(x)[:number], outputs)

    return network
