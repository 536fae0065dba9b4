"""Networks of one convolution in place of a U-Net and a classifier, and folders of images for both."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
from efficientdet.classifier import ClassifierConfig
from efficientdet.unet import UNetConfig, pad_to_stride
from PIL import Image

from efficientdet_pipeline.models.classification import ClassificationNetwork
from efficientdet_pipeline.models.segmentation import SegmentationNetwork

SEGMENTATION = SegmentationNetwork(
    UNetConfig(backbone_name="efficientnet-lite0", num_classes=3), {0: "background", 1: "a", 2: "b"}, (64, 96)
)
CLASSIFICATION = ClassificationNetwork(
    ClassifierConfig(backbone_name="efficientnet-lite0", num_classes=3), {0: "a", 1: "b", 2: "c"}, (64, 64)
)


class SmallMap(keras.Model):
    """A convolution between the padding and the cropping of a U-Net."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SEGMENTATION.config
        kernels = keras.initializers.RandomNormal(0, 1, 0)
        self.conv = keras.layers.Conv2D(3, 3, padding="same", kernel_initializer=kernels)
        self.conv.build((None, None, None, 3))
        self.built = True

    def call(self, images: Any, training: bool = False) -> Any:
        height, width = keras.ops.shape(images)[1:3]
        return self.conv(pad_to_stride(images))[:, :height, :width]


class SmallClassifier(SmallMap):
    """The average of the convolution."""

    def call(self, images: Any, training: bool = False) -> Any:
        return keras.ops.mean(self.conv(images), axis=(1, 2))


def write_discs(folder: Path, count: int = 8) -> Path:
    """Writes images with discs of two classes, and their masks; returns the folder."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:48, :40]
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(count):
        mask = np.zeros((48, 40), np.uint8)
        for class_id in (1, 2):
            y, x = random.integers(8, 32, 2)
            mask[(rows - y) ** 2 + (columns - x) ** 2 < 60] = class_id
        image = np.stack([60 * mask, 200 - 90 * mask, random.integers(0, 60, mask.shape)], -1).astype(np.uint8)
        Image.fromarray(image).save(folder / "images" / f"{number}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
    return folder


def write_class_folders(folder: Path, count: int = 6) -> Path:
    """Writes images of one color for each of three classes, in a folder for each; returns the folder."""
    random = np.random.default_rng(0)
    for channel, name in enumerate(("blue", "green", "red")):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            image = random.integers(0, 80, (40, 50, 3)).astype(np.uint8)
            image[..., 2 - channel] += 150
            Image.fromarray(image).save(folder / name / f"{number}.png")
    return folder
