"""Evaluator of segmentation: runs a network over whole images of shards and computes its metrics."""

import heapq
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from efficientdet_pipeline.evaluation.class_evaluation import NUM_WORST, ClassEvaluation, WorstImage, jpeg_of
from efficientdet_pipeline.evaluation.class_metrics_text import format_class_metrics
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
        for image, predicted in self._predictions(_watched(self._images)):
            evaluator.add(image.semantic_map.numpy(), predicted)
        return metrics_of(evaluator.metrics(), self.network.label_map)

    def draw(self, count: int) -> list[np.ndarray]:
        """Returns image, truth, prediction and mistakes of the first images."""
        return [
            _drawn(image, predicted, self.network) for image, predicted in self._predictions(self._images.take(count))
        ]

    def saved(self, facts: Mapping[str, str | float]) -> ClassEvaluation:
        """Returns the confusion matrix, the metrics, and the images of the lowest mean IoU of their own."""
        return evaluate_maps(self._predictions(_watched(self._images)), self.network, facts)

    def _predictions(self, images: Any) -> Iterator[tuple[SemanticEvaluationImage, np.ndarray]]:
        for image in images:
            yield image, np.asarray(self.predict(image.image))[0].astype(np.uint8)


def _watched(images: Any) -> Any:
    """Returns the same images; a progress bar counts them where somebody watches."""
    return tqdm(images, desc="evaluating", unit="image", leave=False, disable=not is_terminal())


def evaluate_with(
    predict: Callable[[np.ndarray], np.ndarray],
    images: Iterable[SemanticEvaluationImage],
    network: SegmentationNetwork,
    facts: Mapping[str, Any],
) -> ClassEvaluation:
    """Returns the evaluation of anything that predicts.

    Args:
      predict: image (h, w, 3), uint8 RGB → class of each pixel, (h, w) uint8.
      images: with their truth.
      network: of the predictor.
      facts: what is evaluated on what.
    """
    predictions = ((image, predict(image.source.numpy())) for image in _watched(images))
    return evaluate_maps(predictions, network, facts)


def evaluate_maps(
    predictions: Iterable[tuple[SemanticEvaluationImage, np.ndarray]],
    network: SegmentationNetwork,
    facts: Mapping[str, Any],
) -> ClassEvaluation:
    """Returns the evaluation of predicted class maps (h, w), uint8; see `evaluate_with`."""
    num_classes = network.config.num_classes
    evaluator = SegmentationEvaluator(num_classes)
    worst: list[tuple[float, int, SemanticEvaluationImage, np.ndarray]] = []
    num_images = 0
    for number, (image, predicted) in enumerate(predictions):
        own = evaluator.add(image.semantic_map.numpy(), predicted)
        num_images += 1
        if not math.isnan(own):
            # The heap's first is the best of the kept; the number keeps images from being compared.
            heapq.heappush(worst, (-own, -number, image, predicted))
            if len(worst) > NUM_WORST:
                heapq.heappop(worst)
    measured = evaluator.metrics()
    return ClassEvaluation(
        unit="pixels",
        metrics=metrics_of(measured, network.label_map),
        names=tuple(str(network.label_map.get(column, column)) for column in range(num_classes)),
        confusion=measured.confusion,
        num_images=num_images,
        worst=tuple(
            WorstImage(
                name=os.fsdecode(image.filename.numpy()) or f"image {-number}",
                note=f"mIoU {-negative:.3f}",
                jpeg=jpeg_of(_drawn(image, predicted, network)),
            )
            for negative, number, image, predicted in sorted(worst, key=lambda each: (-each[0], -each[1]))
        ),
        facts=dict(facts),
    )


def _drawn(image: SemanticEvaluationImage, predicted: np.ndarray, network: SegmentationNetwork) -> np.ndarray:
    background = 0 if network.has_background else None
    return compare_maps(image.source.numpy(), image.semantic_map.numpy(), predicted, background=background)


def _class_map_function(model: keras.Model) -> Any:
    """Returns a function from a normalized image (1, h, w, 3) to its class map (1, h, w)."""
    if keras.backend.backend() == "jax":
        from efficientdet_pipeline.evaluation.outputs_jax import network_function

        # Each size of images is compiled once.
        network = network_function(model)
        return lambda image: keras.ops.convert_to_numpy(class_map(network(image)))
    signature = [tf.TensorSpec((1, None, None, 3), tf.float32)]
    return tf.function(lambda image: class_map(model(image, training=False)), input_signature=signature)


def metrics_of(measured: SegmentationMetrics, label_map: Mapping[int, str]) -> Metrics:
    """Returns the metrics of a segmentation; -1 where undefined."""
    values = {name: float(np.nan_to_num(value, nan=UNDEFINED)) for name, value in measured.values(label_map).items()}
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


def format_metrics(metrics: Mapping[str, Any]) -> str:
    """Returns the content of metrics.json as lines of text; undefined metrics as a dash."""
    columns = {"IoU": "per_class", "Dice": "per_class_Dice", "boundary_F1": "per_class_boundary_F1"}
    return format_class_metrics(metrics, NUMBERS, columns)
