"""Loss on validation images: the objective, averaged over images, with columns beside those of the training."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from efficientdet_pipeline.tasks.detection import LAYOUT
from efficientdet_pipeline.training.validation_loss import ValidationLoss, with_validation_loss


class SquaredError:
    """Objective of a line: the mean of squares."""

    loss_names = ("class_loss",)

    def targets(self, truth: Any) -> Any:
        return truth

    def count(self, targets: Any) -> Any:
        return ops.cast(ops.shape(targets)[0], "float32")

    def normalizer(self, count: Any) -> Any:
        return count

    def terms(self, outputs: Any, targets: Any, normalizer: Any) -> Any:
        loss = ops.sum(ops.square(outputs - targets)) / normalizer
        return 2 * loss, {"class_loss": loss}


def test_validation_loss_is_that_of_the_weights_of_the_moment() -> None:
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    inputs = np.array([[1.0], [2.0], [3.0]], np.float32)
    batches = tf.data.Dataset.from_tensor_slices((inputs, 2 * inputs)).batch(2)
    loss = ValidationLoss(network, SquaredError(), lambda: batches)
    network.layers[0].kernel.assign([[2.0]])
    assert loss() == {"val_loss": 0.0, "val_class_loss": 0.0}
    network.layers[0].kernel.assign([[1.0]])
    assert loss() == {"val_loss": 2 * 14 / 3, "val_class_loss": 14 / 3}
    assert ValidationLoss(network, SquaredError(), lambda: batches.take(0))() == {}


def test_with_validation_loss_adds_columns_and_lines() -> None:
    layout = with_validation_loss(LAYOUT, ("class_loss", "box_loss"))
    assert set(layout.columns) - set(LAYOUT.columns) == {"val_loss", "val_class_loss", "val_box_loss"}
    assert layout.panels["loss"] == ("loss", "val_loss")
    assert layout.panels["class loss"] == ("class_loss", "val_class_loss")
    assert layout.panels["overlap loss"] == LAYOUT.panels["overlap loss"]
