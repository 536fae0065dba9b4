"""How long the training waited for its data."""

import time
from typing import Any

import numpy as np
import tensorflow as tf


class WaitMeter:
    """Adds up the seconds between asking a data set for a batch and getting it.

    The step asks from inside its compiled graph, where no clock of Python's
    sees it. So the data set itself looks at the clock: when it is asked, and
    when the batch is there. A batch that lay ready counts as nothing.

    On one device that is what the step waited. Where the backend fetches ahead
    while the device still computes, as JAX does, it is what the fetching waited,
    which may be more.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        """All the waiting so far."""

    def watch(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Returns the data set, watched."""
        # TensorFlow's own clock stands still, with an error, where operations must be deterministic.
        clock = tf.data.Dataset.from_tensors(0).repeat().map(lambda _: tf.numpy_function(_now, [], tf.float64))

        def note(asked: tf.Tensor, batch: Any) -> Any:
            with tf.control_dependencies([tf.numpy_function(self._add, [asked], tf.float64)]):
                return tf.nest.map_structure(tf.identity, batch)

        # `zip` asks its parts one after the other, and neither of these steps runs ahead.
        return tf.data.Dataset.zip((clock, batches)).map(note)

    def _add(self, asked: np.ndarray) -> np.ndarray:
        self.seconds += time.monotonic() - float(asked)
        return np.array(self.seconds)


def _now() -> np.ndarray:
    return np.array(time.monotonic())
