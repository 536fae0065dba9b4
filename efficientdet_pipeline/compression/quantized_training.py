"""What a quantization-aware training adds to its steps, epochs and checkpoints."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from efficientdet_pipeline.compression.fake_quantization import QuantizedNetwork
from efficientdet_pipeline.compression.files import RANGES


class MovingRanges:
    """Moves the ranges of activations after each finite step, and writes them beside the weights.

    A `StepHook` and a `CheckpointFile` of the training.
    """

    def __init__(self, network: QuantizedNetwork) -> None:
        self.network = network

    @property
    def state(self) -> Sequence[keras.Variable]:
        """The ranges, and how often they have moved."""
        layer = self.network.ranges_layer
        return [layer.ranges, layer.observations]

    def update(self, step: tf.Tensor) -> None:
        """Moves the ranges, while they are observed."""
        del step
        if self.network.is_observing:
            self.network.ranges_layer.move()

    def write(self, path: Path, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes the ranges of a state of the training."""
        self.network.save_ranges(path, arrays[f"run/{self.network.ranges_layer.ranges.path}"])

    def load(self, checkpoint: Path) -> None:
        """Takes the ranges of a checkpoint's folder."""
        self.network.load_ranges(checkpoint / RANGES)


class FixRanges(keras.callbacks.Callback):
    """Fixes the ranges of activations after the first epochs; observing is left out then, which is faster."""

    def __init__(self, network: QuantizedNetwork, observe_epochs: int) -> None:
        super().__init__()
        self.network, self.observe_epochs = network, observe_epochs

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Starts or ends observing, also when a run is resumed."""
        is_observing = epoch < self.observe_epochs
        if is_observing != self.network.is_observing:
            self.network.is_observing = is_observing
            self.model.make_train_function(force=True)
