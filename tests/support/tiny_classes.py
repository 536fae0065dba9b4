"""Networks of two convolutions for train steps of segmentation and classification, on both backends."""

from typing import Any

import keras
import numpy as np
from efficientdet.classification_training import ClassificationObjective
from efficientdet.layers import BatchNormalization
from efficientdet.segmentation_losses import SegmentationLossOptions
from efficientdet.segmentation_training import SegmentationObjective

CLASSES, SIDE, IGNORED = 3, 16, 255


class TinyClasses(keras.Model):
    """Logits of each pixel, or of the image; with batch statistics, as the real networks have them."""

    def __init__(self, *, has_maps: bool) -> None:
        super().__init__()
        self.has_maps = has_maps
        self.conv, self.norm = keras.layers.Conv2D(4, 3, padding="same"), BatchNormalization()
        self.last = keras.layers.Conv2D(CLASSES, 1)
        self.conv.build((None, SIDE, SIDE, 3))
        self.norm.build((None, SIDE, SIDE, 4))
        self.last.build((None, SIDE, SIDE, 4))
        # Seeded initializers draw other values on JAX.
        random = np.random.default_rng(1)
        for layer in (self.conv, self.last):
            layer.kernel.assign(0.3 * random.standard_normal(layer.kernel.shape).astype("float32"))
        self.built = True

    def set_drop_path(self, seed: int, step: int) -> None:
        """Does nothing: it has no drop path."""

    def next_drop_path_seed(self) -> None:
        """Returns no seed."""

    def call(self, images: Any, training: bool = False, seed: Any = None) -> Any:
        logits = self.last(keras.ops.relu(self.norm(self.conv(images), training=training)))
        return logits if self.has_maps else keras.ops.mean(logits, axis=(1, 2))


def objective(*, has_maps: bool) -> SegmentationObjective | ClassificationObjective:
    """Returns the losses whose shares add up to those of the batch."""
    if not has_maps:
        return ClassificationObjective()
    return SegmentationObjective(SegmentationLossOptions(terms=(("cross_entropy", 1.0), ("focal", 0.5))))


def data(count: int, *, has_maps: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns images and truth; later images of four have more ignored pixels than earlier ones."""
    random = np.random.default_rng(0)
    images = random.standard_normal((count, SIDE, SIDE, 3)).astype("float32")
    if not has_maps:
        return images, random.integers(0, CLASSES, count).astype("int32")
    maps = random.integers(0, CLASSES, (count, SIDE, SIDE)).astype("int32")
    for number in range(count):
        maps[number, : 5 * (number % 4)] = IGNORED
    return images, maps
