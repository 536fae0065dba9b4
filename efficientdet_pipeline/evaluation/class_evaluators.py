"""Evaluation of segmentation and classification by any predictor, and its numbers as text."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from absl import logging
from efficientdet.imagenet import imagenet_config

from efficientdet_pipeline.data.semantic_batches import SemanticClasses, evaluation_semantic_images
from efficientdet_pipeline.data.semantic_facts import names_beside
from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.evaluation.class_evaluation import ClassEvaluation
from efficientdet_pipeline.evaluation.classification_evaluator import (
    evaluate_classes,
    format_classification,
    labelled_images,
)
from efficientdet_pipeline.evaluation.segmentation_evaluator import evaluate_with, format_metrics
from efficientdet_pipeline.inference.probabilities import Probabilities
from efficientdet_pipeline.inference.segmentation import class_map_of
from efficientdet_pipeline.models.class_networks import ClassNetwork
from efficientdet_pipeline.models.classification import ClassificationNetwork
from efficientdet_pipeline.models.segmentation import SegmentationNetwork
from tfrmod.manifest import count_files


def evaluate_shards(
    predict: Probabilities,
    network: ClassNetwork,
    files: Sequence[str],
    facts: Mapping[str, Any],
    *,
    limit: int | None = None,
) -> ClassEvaluation:
    """Returns the evaluation of a predictor on the images of shards.

    Args:
      predict: a checkpoint, or an artifact in its own runtime.
      network: of the predictor.
      files: the shards.
      facts: what is evaluated on what.
      limit: number of images, the first ones; None for all.

    Raises:
      DatasetError: a shard is damaged.
      DataError: a record is not of such a network's classes.
    """
    if isinstance(network, ClassificationNetwork):
        images = labelled_images(count_files([Path(file) for file in files]), network, limit=limit)
        return evaluate_classes(predict, images, network, facts)
    maps = evaluation_semantic_images(
        files, semantic_classes(files, network), imagenet_config(network.config.backbone_name), limit=limit
    )
    return evaluate_with(lambda image: class_map_of(predict(image)), maps, network, facts)


def semantic_classes(files: Sequence[str], network: SegmentationNetwork) -> SemanticClasses:
    """Returns the mapping from values of shards to columns, by name where a manifest beside the shards names them.

    Values are matched by number where the network lacks one of the names, and a warning says so.
    """
    names: dict[int, str] = {}
    with suppress(DataError):
        names = names_beside(files)
    first = 0 if network.has_background else 1
    own = {name: column + first for column, name in network.label_map.items()}
    unknown = [name for name in names.values() if name not in own]
    if unknown:
        logging.warning(
            "Classes are matched by number, since the network has none named %s; it has %s.",
            ", ".join(unknown[:5]),
            ", ".join(list(own)[:5]),
        )
    values = {value: own[name] for value, name in names.items() if not unknown and own[name] != value}
    return SemanticClasses(num_classes=network.config.num_classes, has_background=network.has_background, values=values)


def format_class_metrics(network: ClassNetwork, metrics: Mapping[str, Any]) -> str:
    """Returns the content of metrics.json as lines of text."""
    is_classifier = isinstance(network, ClassificationNetwork)
    return format_classification(metrics) if is_classifier else format_metrics(metrics)
