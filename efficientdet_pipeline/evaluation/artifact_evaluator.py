"""Evaluator of exported models, ensembles of detectors, and test-time augmentation."""

import statistics
import time
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from efficientdet_pipeline.console import is_terminal
from efficientdet_pipeline.data.input_pipeline import evaluation_batches
from efficientdet_pipeline.evaluation.evaluator import truth_images
from efficientdet_pipeline.evaluation.ground_truth import GroundTruth
from efficientdet_pipeline.evaluation.kept_detections import Detected
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.evaluation.views import Detect, View, detect_in_views
from efficientdet_pipeline.inference.predictor import Predictor, detect_image
from efficientdet_pipeline.inference.results import ImageDetections


class ArtifactEvaluator:
    """Detections of one or more detectors on shards, one original image at a time.

    Args:
      detectors: detections of several detectors or views are fused.
      truth: the ground truth.
      views: of each image.
    """

    def __init__(self, detectors: Sequence[Detect], truth: GroundTruth, *, views: Sequence[View] = (View(),)):
        self.detectors, self.truth, self.views = list(detectors), truth, list(views)
        self.milliseconds = 0.0
        """Median seconds per image in the last evaluation, over all detectors and views."""
        self._batches = evaluation_batches(
            truth.files, lambda image: (image, tf.constant(1.0)), batch_size=1, numbers=truth.numbers
        )

    def collect(self) -> Detected:
        """Returns ground truth and detections of every evaluated image."""
        truth: list[TruthImage] = []
        detected: list[ImageDetections] = []
        seconds: list[float] = []
        for batch in tqdm(self._batches, desc="evaluating", unit="image", leave=False, disable=not is_terminal()):
            (image,) = truth_images(batch, self.truth.class_ids)
            pixels = batch.images[0].numpy()
            began = time.perf_counter()
            found = self._detect(pixels)
            seconds.append(time.perf_counter() - began)
            truth.append(image)
            detected.append(found._replace(source_id=image.source_id))
        # The first image includes tracing.
        self.milliseconds = 1000 * statistics.median(seconds[1:] or seconds or [0.0])
        return self.truth.truth_of(truth), detected

    def _detect(self, pixels: np.ndarray) -> ImageDetections:
        if len(self.detectors) == 1 and self.views == [View()]:
            return self.detectors[0](pixels)
        return detect_in_views(pixels, self.detectors, self.views)


def detect_function(predictor: Predictor, class_ids: Mapping[int, int] | None = None) -> Detect:
    """Returns a detection function of an image; `class_ids` maps class ids of the predictor to other ids."""
    other = class_ids or {}

    def detect(pixels: np.ndarray) -> ImageDetections:
        found = detect_image(predictor, pixels)
        ids = np.array([other.get(int(class_id), int(class_id)) for class_id in found.class_ids], np.int64)
        return ImageDetections(found.boxes, found.scores, ids, source_id="")

    return detect
