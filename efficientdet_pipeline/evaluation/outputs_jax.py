"""The network's outputs on JAX as NumPy arrays, for post-processing in TensorFlow."""

from collections.abc import Callable
from typing import Any

import jax
import keras
import numpy as np
from efficientdet.types import Pyramid


def network_function(detector: keras.Model) -> Callable[[Any], dict[str, Pyramid]]:
    """Returns a function of canvases (b, H, W, 3) that gives the detector's raw outputs as it is now.

    It computes on one device of this process, with the values that lie there,
    so that no other process need take part.
    """

    @jax.jit
    def outputs_of(trainable: list[Any], others: list[Any], images: Any) -> Any:
        return detector.stateless_call(trainable, others, images, training=False)[0]

    most = 0

    def network(images: Any) -> dict[str, Pyramid]:
        nonlocal most
        images = np.asarray(images)
        number, most = len(images), max(most, len(images))
        # A smaller batch would be compiled anew: it is filled up.
        padded = np.pad(images, ((0, most - number), (0, 0), (0, 0), (0, 0)))
        groups = (detector.trainable_variables, detector.non_trainable_variables)
        values = [[variable.value.addressable_data(0) for variable in group] for group in groups]
        outputs = outputs_of(*values, jax.device_put(padded, values[0][0].device))
        return jax.tree.map(lambda x: np.asarray(x)[:number], outputs)

    return network
