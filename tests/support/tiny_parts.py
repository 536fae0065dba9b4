"""A backbone, a neck, an augmentation and an export format of a few lines each, defined outside the packages."""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from efficientdet.config import DetectorConfig
from efficientdet.necks.fpn_graphs import Graph, Node

from efficientdet_pipeline.augment.sample import Augmentation, Sample
from efficientdet_pipeline.export.saved_model import write_saved_model
from efficientdet_pipeline.export.trained_detector import TrainedDetector
from efficientdet_pipeline.inference.predictor import Predictor, saved_model_predictor

FILTERS = 8


class StridedBackbone(keras.layers.Layer):
    """Five convolutions with stride 2."""

    def __init__(self) -> None:
        super().__init__(name="backbone")
        self.convs = [
            keras.layers.Conv2D(FILTERS, 3, strides=2, padding="same", activation="relu", name=f"conv_{level}")
            for level in range(1, 6)
        ]
        self.channels = dict.fromkeys(range(1, 6), FILTERS)

    def build(self, input_shape: Any) -> None:
        for conv in self.convs:
            conv.build(input_shape)
            input_shape = conv.compute_output_shape(input_shape)

    def call(self, images: Any, seed: Any = None, training: bool = False) -> dict[int, Any]:
        pyramid: dict[int, Any] = {}
        for level, conv in enumerate(self.convs, start=1):
            pyramid[level] = images = conv(images)
        return pyramid


def build_backbone(config: DetectorConfig) -> StridedBackbone:
    return StridedBackbone()


def count_operations(backbone: StridedBackbone, meter: Any, image_size: tuple[int, int]) -> None:
    for conv in backbone.convs:
        image_size = meter.conv(conv, image_size)


def top_down(min_level: int, max_level: int) -> Graph:
    """Each level and the one above it, from the top."""
    num_inputs = max_level - min_level + 1
    nodes, above = [], num_inputs - 1
    for level in range(max_level - 1, min_level - 1, -1):
        nodes.append(Node(level, (level - min_level, above)))
        above = num_inputs + len(nodes) - 1
    return (*nodes, Node(max_level, (num_inputs - 1,)))


def invert(strength: float) -> Augmentation:
    """Moves colours towards their negative."""

    def change(sample: Sample, seed: tf.Tensor) -> Sample:
        image = tf.cast(sample.image, tf.float32)
        negative = image + strength * (255.0 - 2.0 * image)
        return sample._replace(image=tf.cast(negative, sample.image.dtype))

    return change


def write_copy(detector: TrainedDetector, path: Path) -> None:
    write_saved_model(detector.served, path)


def load_copy(path: Path, config: DetectorConfig) -> Predictor:
    return saved_model_predictor(path)
