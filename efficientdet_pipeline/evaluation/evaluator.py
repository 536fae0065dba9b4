"""Evaluator: runs a detector over shards and computes its metrics."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import efficientdet
import keras
import numpy as np
import tensorflow as tf
from efficientdet.any_detector import AnyDetectorConfig
from efficientdet.postprocess import clip_to_images
from efficientdet.preprocess import fit_to_canvas
from efficientdet.types import Detections
from tqdm import tqdm

from efficientdet_pipeline.console import is_terminal
from efficientdet_pipeline.data.input_pipeline import EvaluationBatch, evaluation_batches
from efficientdet_pipeline.evaluation import TruthImage, coco_metrics, detected_images
from efficientdet_pipeline.evaluation.bootstrap import confidence_intervals
from efficientdet_pipeline.evaluation.ground_truth import GroundTruth
from efficientdet_pipeline.evaluation.instances import flatten
from efficientdet_pipeline.evaluation.kept_detections import Detected, KeptDetections
from efficientdet_pipeline.evaluation.matching import match
from efficientdet_pipeline.evaluation.truth import image_key
from efficientdet_pipeline.inference.results import ImageDetections

FEWEST_DRAWN, MOST_DRAWN = 10, 1_000
"""Minimum and maximum number of images for which an evaluation during training computes a confidence interval."""


class Evaluator:
    """COCO metrics of a detector on shards; built once per run, called at each evaluation."""

    def __init__(
        self,
        detector: keras.Model,
        config: AnyDetectorConfig,
        truth: GroundTruth,
        *,
        label_map: dict[int, str],
        batch_size: int,
    ):
        self.label_map, self.files, self.truth = label_map, truth.files, truth
        self.detector, self.config = detector, config
        self.detect = detector_function(detector, config)
        self.kept = KeptDetections()
        self.milliseconds = 0.0
        """Median inference time per image in milliseconds in the last evaluation, batched, without input loading."""
        self._batches = evaluation_batches(
            truth.files, lambda image: fit_to_canvas(image, config), batch_size=batch_size, numbers=truth.numbers
        )

    def __call__(self) -> dict[str, Any]:
        """Returns the metrics of the detector with its current weights."""
        self.kept.latest = self.collect()
        return coco_metrics(*self.kept.latest, self.label_map)

    def interval(self) -> tuple[float, float] | None:
        """Returns the 95 % confidence interval of AP of the last evaluation; None for too few or too many images.

        Fewer images than `FEWEST_DRAWN` do not show how images vary; with more than `MOST_DRAWN` it is slow to compute,
        and narrow. None also where AP is 0.
        """
        if self.kept.latest is None or not FEWEST_DRAWN <= len(self.kept.latest[0]) <= MOST_DRAWN:
            return None
        instances = flatten(*self.kept.latest, self.label_map)
        low, high = confidence_intervals(instances, match(instances)).overall["AP"]
        return (low, high) if high > 0 else None

    def collect(self) -> Detected:
        """Returns ground truth and detections of every evaluated image, with the current weights."""
        truth: list[TruthImage] = []
        detected: list[ImageDetections] = []
        seconds: list[float] = []
        for batch in tqdm(self._batches, desc="evaluating", unit="batch", leave=False, disable=not is_terminal()):
            source_ids = batch.source_ids.numpy()
            began = time.perf_counter()
            detected += detected_images(source_ids, self.detect(batch.images, batch.scales, batch.sizes))
            seconds.append((time.perf_counter() - began) / len(source_ids))
            truth += truth_images(batch, self.truth.class_ids)
        # The first batch includes tracing.
        self.milliseconds = 1000 * statistics.median(seconds[1:] or seconds or [0.0])
        return (self.truth.truth_of(truth), detected)


def detector_function(detector: keras.Model, config: AnyDetectorConfig) -> Callable[..., Detections]:
    """Returns a traced function of normalised canvases (b, H, W, 3), scales (b,) and image sizes (b, 2)."""
    if keras.backend.backend() == "jax":
        return _detector_function_on_jax(detector, config)

    @tf.function(
        input_signature=(
            tf.TensorSpec((None, *config.image_size, 3), tf.float32),
            tf.TensorSpec((None, 2) if config.resize == "stretch" else (None,), tf.float32),
            tf.TensorSpec((None, 2), tf.int32),
        ),
        autograph=False,
    )
    def detect(images: tf.Tensor, scales: tf.Tensor, sizes: tf.Tensor) -> Detections:
        found = efficientdet.detections(config, detector(images, training=False), scales)
        return clip_to_images(found, sizes)

    return detect


def _detector_function_on_jax(detector: keras.Model, config: AnyDetectorConfig) -> Callable[..., Detections]:
    from efficientdet_pipeline.evaluation.outputs_jax import network_function

    network = network_function(detector)

    @tf.function(reduce_retracing=True, autograph=False)
    def detections_of(outputs: dict[str, Any], scales: tf.Tensor, sizes: tf.Tensor) -> Detections:
        return clip_to_images(efficientdet.detections(config, outputs, scales), sizes)

    return lambda images, scales, sizes: detections_of(network(images), scales, sizes)


def truth_images(batch: EvaluationBatch, other_ids: Mapping[int, int]) -> list[TruthImage]:
    """Returns the ground truth of a batch; `other_ids` maps its class ids to those of the detector."""
    truth = []
    for row, (source_id, count) in enumerate(zip(batch.source_ids.numpy(), batch.num_boxes.numpy(), strict=True)):
        boxes, class_ids, is_crowd, areas = (
            np.asarray(part[row][:count])
            for part in (batch.boxes_original, batch.class_ids, batch.is_crowd, batch.areas)
        )
        class_ids = np.array([other_ids.get(int(class_id), int(class_id)) for class_id in class_ids], np.int64)
        height, width = (int(side) for side in batch.sizes[row])
        truth.append(
            TruthImage(
                image_key(source_id),
                boxes,
                class_ids,
                is_crowd,
                areas,
                file_name=bytes(batch.file_names[row].numpy()).decode("utf-8", "replace"),
                size=(height, width),
                is_difficult=np.asarray(batch.is_difficult[row][:count]),
            )
        )
    return truth
