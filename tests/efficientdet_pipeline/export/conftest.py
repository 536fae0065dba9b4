"""A small network with different detections in different images, and images for it."""

import zlib

import numpy as np
import pytest
import tensorflow as tf
from efficientdet.automl.variable_names import variable_names
from efficientdet.config import get_config
from efficientdet.model import build_model
from efficientdet.preprocess import canvas_batch

from efficientdet_pipeline.export.trained_detector import TrainedDetector

LABELS = {1: "cat", 2: "собака", 3: "no: yes"}


def drawn_images(count: int) -> list[np.ndarray]:
    """Returns reproducible images of several sizes with large and small shapes."""
    random = np.random.RandomState(0)
    images = []
    for number in range(count):
        size = ((64, 64), (50, 90), (97, 41))[number % 3]
        coarse, fine = (random.uniform(-1, 1, (1, cells, cells, 3)) for cells in (4, 20))
        waves = sum(tf.image.resize(noise, size, "bilinear") for noise in (coarse, fine))
        images.append(np.clip(127 + 100 * np.asarray(waves[0]), 0, 255).astype(np.uint8))
    return images


@pytest.fixture(scope="session")
def detector() -> TrainedDetector:
    """Returns a network of 64 px with batch statistics of the images."""
    config = get_config("efficientdet-lite0", num_classes=3, image_size=64, fpn_cell_repeats=1, box_class_repeats=1)
    model = build_model(config)
    for name, variable in variable_names(model).items():
        if name.endswith("kernel"):
            random = np.random.RandomState(zlib.crc32(name.encode()))
            fan = 9 if name.endswith("depthwise_kernel") else np.prod(variable.shape[:-1])
            gain = {"box_net/box-predict": 0.1, "class_net/class-predict": 3.0}.get(name.rsplit("/", 1)[0], 1.0)
            variable.assign(random.standard_normal(variable.shape) * gain / np.sqrt(fan))
    norms = [layer for layer in model._flatten_layers() if hasattr(layer, "momentum")]
    for norm in norms:
        norm.momentum = 0.0
    images = drawn_images(9)
    model(tf.concat([canvas_batch(tf.constant(image[None]), config)[0] for image in images], axis=0), training=True)
    return TrainedDetector(model=model, config=config, label_map=LABELS, calibration=images)


@pytest.fixture(scope="session")
def images() -> list[np.ndarray]:
    return drawn_images(3)
