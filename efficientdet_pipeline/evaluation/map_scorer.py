"""Mean IoU of the segmentation head of a detector, on the canvas of validation images."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from efficientdet.config import DetectorConfig
from tqdm import tqdm

from efficientdet_pipeline.console import is_terminal
from efficientdet_pipeline.data.box_map_batches import evaluation_box_map_images, has_masks
from efficientdet_pipeline.evaluation.average_precision import UNDEFINED
from efficientdet_pipeline.evaluation.evaluator import Evaluator
from efficientdet_pipeline.evaluation.segmentation_metrics import SegmentationEvaluator

NUMBERS = ("mIoU", "pixel_accuracy")
"""Metrics of the maps."""


class MapScorer:
    """Metrics of the class of each pixel; images are fitted to the canvas, and the head's logits enlarged to it."""

    def __init__(
        self,
        model: keras.Model,
        config: DetectorConfig,
        files: Sequence[str],
        *,
        numbers: Sequence[int] | None = None,
        class_ids: Mapping[int, int] | None = None,
    ) -> None:
        """Prepares the evaluation.

        Args:
          model: with the head `segmentation`.
          config: of the model.
          files: shards whose objects have masks.
          numbers: of the records; None for all.
          class_ids: of the shards → of the detector, where they differ.
        """
        self._num_classes = config.seg_num_classes
        self._predict = _map_function(model, config)
        self._images = evaluation_box_map_images(files, config, numbers=numbers)
        self._columns = np.arange(256, dtype=np.uint8)
        for there, here in (class_ids or {}).items():
            self._columns[there] = here

    def __call__(self) -> dict[str, float]:
        """Returns the metrics of `NUMBERS` of the model with its current weights; -1 where undefined."""
        found = SegmentationEvaluator(self._num_classes, boundary_tolerance=0.0)
        for each in tqdm(self._images, desc="evaluating maps", unit="image", leave=False, disable=not is_terminal()):
            found.add(self._columns[each.semantic_map.numpy()], np.asarray(self._predict(each.image))[0])
        values = found.metrics().values()
        return {name: float(UNDEFINED) if np.isnan(values[name]) else values[name] for name in NUMBERS}


def score_maps(evaluator: object) -> dict[str, float]:
    """Returns the metrics of the maps of an evaluated checkpoint, and logs them; empty for a network without maps.

    Args:
      evaluator: an `Evaluator`; others, such as those of exports, evaluate boxes alone.
    """
    if not isinstance(evaluator, Evaluator) or not isinstance(evaluator.config, DetectorConfig):
        return {}
    if "segmentation" not in evaluator.config.heads:
        return {}
    truth = evaluator.truth
    if not has_masks(truth.files):
        logging.warning("The images have no masks: the maps are not evaluated.")
        return {}
    scorer = MapScorer(
        evaluator.detector, evaluator.config, truth.files, numbers=truth.numbers, class_ids=truth.class_ids
    )
    found = scorer()
    logging.info("Maps: %s", ", ".join(f"{name} {value:.3f}" for name, value in found.items()))
    return found


def _map_function(model: keras.Model, config: DetectorConfig) -> Callable[[tf.Tensor], Any]:
    """Returns a function from a canvas (1, H, W, 3) to the class of each of its pixels, (1, H, W) uint8."""

    def classes(logits: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.argmax(tf.image.resize(logits, config.image_size), axis=-1), tf.uint8)

    if keras.backend.backend() == "jax":
        from efficientdet_pipeline.evaluation.outputs_jax import network_function

        network = network_function(model)
        return lambda image: classes(tf.constant(np.asarray(network(image)["segmentation"])))
    signature = [tf.TensorSpec((1, *config.image_size, 3), tf.float32)]
    return tf.function(lambda image: classes(model(image, training=False)["segmentation"]), input_signature=signature)
