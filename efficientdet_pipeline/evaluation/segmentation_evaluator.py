"""Evaluator of segmentation: runs a network over whole images of shards and computes its metrics."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from efficientdet.imagenet import imagenet_config
from efficientdet.unet import class_map
from tqdm import tqdm

from efficientdet_pipeline.console import is_terminal
from efficientdet_pipeline.data.semantic_batches import (
    SemanticClasses,
    SemanticEvaluationImage,
    evaluation_semantic_images,
)
from efficientdet_pipeline.evaluation.average_precision import UNDEFINED
from efficientdet_pipeline.evaluation.evaluation_file import SavedEvaluation
from efficientdet_pipeline.evaluation.metrics import Metrics
from efficientdet_pipeline.evaluation.segmentation_metrics import SegmentationEvaluator, SegmentationMetrics
from efficientdet_pipeline.models.segmentation import SegmentationNetwork
from efficientdet_pipeline.visualize.semantic_map import compare_maps

PRIMARY = "mIoU"
NUMBERS = ("mIoU", "pixel_accuracy", "mean_accuracy", "Dice", "boundary_F1")
"""Metrics over all classes."""
PER_CLASS = ("IoU", "Dice", "boundary_F1")


class SegmentationScorer:
    """Metrics of a U-Net on shards; every image is predicted at its original size."""

    def __init__(
        self,
        model: keras.Model,
        network: SegmentationNetwork,
        classes: SemanticClasses,
        files: Sequence[str],
        *,
        limit: int | None = None,
    ) -> None:
        self.network = network
        self.predict = _class_map_function(model)
        self._images = evaluation_semantic_images(
            files, classes, imagenet_config(network.config.backbone_name), limit=limit
        )

    def __call__(self, epoch: int | None = None) -> Metrics:
        """Returns the metrics of the network with its current weights."""
        del epoch
        evaluator = SegmentationEvaluator(self.network.config.num_classes)
        progress = tqdm(self._images, desc="evaluating", unit="image", leave=False, disable=not is_terminal())
        for image, predicted in self._predictions(progress):
            evaluator.add(image.semantic_map.numpy(), predicted)
        return metrics_of(evaluator.metrics(), self.network.label_map)

    def draw(self, count: int) -> list[np.ndarray]:
        """Returns image, ground truth, prediction and errors of the first images."""
        background = 0 if self.network.has_background else None
        return [
            compare_maps(image.source.numpy(), image.semantic_map.numpy(), predicted, background=background)
            for image, predicted in self._predictions(self._images.take(count))
        ]

    def saved(self, facts: Mapping[str, Any]) -> SavedEvaluation | None:
        """Returns None: the report is for detections."""
        del facts
        return None

    def _predictions(self, images: Any) -> Iterator[tuple[SemanticEvaluationImage, np.ndarray]]:
        for image in images:
            yield image, np.asarray(self.predict(image.image))[0].astype(np.uint8)


def _class_map_function(model: keras.Model) -> Any:
    """Returns a function from a normalized image (1, h, w, 3) to its class map (1, h, w)."""
    if keras.backend.backend() == "jax":
        return lambda image: keras.ops.convert_to_numpy(class_map(model(image.numpy(), training=False)))
    signature = [tf.TensorSpec((1, None, None, 3), tf.float32)]
    return tf.function(lambda image: class_map(model(image, training=False)), input_signature=signature)


def metrics_of(measured: SegmentationMetrics, label_map: Mapping[int, str]) -> Metrics:
    """Returns the metrics of a segmentation; -1 where undefined."""
    values = {name: _number(value) for name, value in measured.values(label_map).items()}
    per_class: dict[str, dict[str, float]] = {title: {} for title in PER_CLASS}
    for name, value in values.items():
        title, slash, of_class = name.partition("/")
        if slash:
            per_class[title][of_class] = value
    return Metrics(
        {name: values[name] for name in NUMBERS},
        PRIMARY,
        {PRIMARY: per_class["IoU"], "Dice": per_class["Dice"], "boundary_F1": per_class["boundary_F1"]},
    )


def _number(value: float) -> float:
    return float(UNDEFINED) if math.isnan(value) else value


def format_metrics(metrics: Mapping[str, Any]) -> str:
    """Returns the content of metrics.json as lines of text; undefined metrics as a dash."""
    lines = ["   ".join(f"{name} {_text(metrics[name])}" for name in NUMBERS)]
    of_classes = metrics["per_class"]
    width = max(len("class"), *map(len, of_classes))
    lines += ["", f"{'class':<{width}}    IoU   Dice  boundary_F1"]
    for name, value in of_classes.items():
        others = metrics["per_class_Dice"][name], metrics["per_class_boundary_F1"][name]
        lines.append(f"{name:<{width}}  {_text(value)}  {_text(others[0])}  {_text(others[1])}")
    return "\n".join(line.rstrip() for line in lines)


def _text(value: float) -> str:
    return f"{value:5.3f}" if value >= 0 else f"{'-':>5}"
