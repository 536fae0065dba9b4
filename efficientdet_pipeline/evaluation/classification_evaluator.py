"""Evaluator of classification: runs a network over the images of shards and measures it."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from efficientdet.imagenet import imagenet_config
from efficientdet.preprocess_imagenet import imagenet_input
from tqdm import tqdm

from efficientdet_pipeline.console import is_terminal
from efficientdet_pipeline.data.class_batches import ClassRecord, evaluation_class_images
from efficientdet_pipeline.evaluation.average_precision import UNDEFINED
from efficientdet_pipeline.evaluation.class_evaluation import NUM_WORST, ClassEvaluation, WorstImage, jpeg_of
from efficientdet_pipeline.evaluation.class_metrics_text import format_class_metrics
from efficientdet_pipeline.evaluation.classification_metrics import ClassificationMetrics, classification_metrics
from efficientdet_pipeline.evaluation.joining import join_classes
from efficientdet_pipeline.evaluation.metrics import Metrics
from efficientdet_pipeline.inference.class_predictor import classifier_probabilities
from efficientdet_pipeline.inference.probabilities import Probabilities
from efficientdet_pipeline.models.classification import ClassificationNetwork
from efficientdet_pipeline.visualize.grid import contact_sheet, resize_to_fit
from tfrmod.manifest import ShardCounts

PRIMARY = "accuracy"
TOP = 5
NUMBERS = ("accuracy", "top5", "balanced_accuracy")
"""Numbers over all classes."""
_TILE = 240
"""Longest side in pixels of a drawn image."""


class ClassificationScorer:
    """Metrics of a classifier on shards."""

    def __init__(
        self, model: keras.Model, network: ClassificationNetwork, shards: ShardCounts, *, limit: int | None = None
    ) -> None:
        self.network = network
        self.predict = _probabilities_function(model, network)
        self._images = labelled_images(shards, network, limit=limit)

    def __call__(self, epoch: int | None = None) -> Metrics:
        """Returns the metrics of the network as it is now."""
        del epoch
        return self.saved({}).metrics

    def draw(self, count: int) -> list[np.ndarray]:
        """Returns the first images, each with its class and the predicted one above it."""
        return [_drawn(record, self.predict(record.image.numpy()), self.network) for record in self._images.take(count)]

    def saved(self, facts: Mapping[str, Any]) -> ClassEvaluation:
        """Returns the confusion matrix, the metrics, and the images that are most certainly wrong."""
        return evaluate_classes(self.predict, self._images, self.network, facts)


def labelled_images(
    shards: ShardCounts, network: ClassificationNetwork, *, limit: int | None = None
) -> tf.data.Dataset:
    """Yields `ClassRecord` of the images of shards; their classes are joined with those of the network by name.

    Raises:
      DataError: the shards have a class that the network lacks.
    """
    joined = join_classes(
        {class_id: shards.recorded_names.get(class_id, "") for class_id in shards.label_map},
        {column + 1: name for column, name in network.label_map.items()},
        num_classes=network.config.num_classes,
        source=str(shards.files[0].parent),
        other_names={column + 1: name for column, name in network.trained_names.items()},
        can_rename=False,
    )
    columns = {class_id: own - 1 for class_id, own in joined.items()}
    return evaluation_class_images(
        [str(file) for file in shards.files], network.config.num_classes, columns=columns, limit=limit
    )


def _probabilities_function(model: keras.Model, network: ClassificationNetwork) -> Probabilities:
    if keras.backend.backend() != "jax":
        return classifier_probabilities(model, network)
    from efficientdet_pipeline.evaluation.outputs_jax import network_function

    logits_of, imagenet = network_function(model), imagenet_config(network.config.backbone_name)

    def probabilities(image: np.ndarray) -> np.ndarray:
        logits = logits_of(imagenet_input(image, imagenet, network.side)[None])[0].astype(np.float64)
        chances = np.exp(logits - logits.max())
        return np.asarray(chances / chances.sum(), np.float32)

    return probabilities


def evaluate_classes(
    predict: Callable[[np.ndarray], np.ndarray],
    images: Iterable[ClassRecord],
    network: ClassificationNetwork,
    facts: Mapping[str, Any],
) -> ClassEvaluation:
    """Returns the evaluation of anything that classifies.

    Args:
      predict: image (h, w, 3), uint8 RGB → probabilities (k,).
      images: with their truth.
      network: of the predictor.
      facts: what is evaluated on what.
    """
    truth: list[int] = []
    chances: list[np.ndarray] = []
    wrong: list[tuple[float, int, ClassRecord]] = []
    watched = tqdm(images, desc="evaluating", unit="image", leave=False, disable=not is_terminal())
    for number, record in enumerate(watched):
        found, column = predict(record.image.numpy()), int(record.column)
        truth.append(column)
        chances.append(found)
        if int(found.argmax()) != column:
            wrong.append((float(found.max()), number, record))
            wrong = sorted(wrong, key=lambda each: (-each[0], each[1]))[:NUM_WORST]
    matrix = np.array(chances).reshape(len(truth), network.config.num_classes)
    if np.isnan(matrix).any():
        logging.warning("Probabilities of some images are no numbers: the network has diverged. They count as 0.")
        matrix = np.nan_to_num(matrix, nan=0.0)
    measured = classification_metrics(np.array(truth, np.int64), matrix)
    return ClassEvaluation(
        unit="images",
        metrics=metrics_of(measured, network.names),
        names=network.names,
        confusion=measured.confusion,
        num_images=len(truth),
        worst=tuple(_worst(record, chances[number], number, network) for _, number, record in wrong),
        facts=dict(facts),
    )


def metrics_of(measured: ClassificationMetrics, names: Sequence[str]) -> Metrics:
    """Returns the numbers of a classification; -1 where nothing was there to measure."""
    values = {
        name: float(np.nan_to_num(value, nan=UNDEFINED)) for name, value in measured.values().items() if name in NUMBERS
    }
    columns = {PRIMARY: measured.recall, "precision": measured.precision}
    per_class = {
        title: {name: float(np.nan_to_num(value, nan=UNDEFINED)) for name, value in zip(names, column, strict=True)}
        for title, column in columns.items()
    }
    return Metrics({name: values[name] for name in NUMBERS}, PRIMARY, per_class)


def format_classification(metrics: Mapping[str, Any]) -> str:
    """Returns the content of metrics.json as lines of text; a dash where nothing was there to measure."""
    text = format_class_metrics(metrics, NUMBERS, {"recall": "per_class", "precision": "per_class_precision"})
    few = len(metrics["per_class"]) <= TOP
    return text.replace("\n", f"\ntop5 is always 1 with {TOP} classes or fewer.\n", 1) if few else text


def _worst(record: ClassRecord, chances: np.ndarray, number: int, network: ClassificationNetwork) -> WorstImage:
    names, best, column = network.names, int(chances.argmax()), int(record.column)
    note = f"{names[column]}, taken for {names[best]} ({chances[best]:.0%}; {names[column]} {chances[column]:.0%})"
    image = resize_to_fit(record.image.numpy(), np.zeros((0, 4)), 2 * _TILE)[0]
    return WorstImage(name=os.fsdecode(record.filename.numpy()) or f"image {number}", note=note, jpeg=jpeg_of(image))


def _drawn(record: ClassRecord, chances: np.ndarray, network: ClassificationNetwork) -> np.ndarray:
    names, best, column = network.names, int(chances.argmax()), int(record.column)
    right = best == column
    title = (
        f"{names[column]}: {chances[column]:.0%}" if right else f"{names[column]} → {names[best]} {chances[best]:.0%}"
    )
    image = resize_to_fit(record.image.numpy(), np.zeros((0, 4)), _TILE)[0]
    return contact_sheet([image], titles=[title if len(title) <= 34 else f"{title[:33]}…"])
