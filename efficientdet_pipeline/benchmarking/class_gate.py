"""The accuracy gate of segmentation and classification: artifacts beside the checkpoint, on validation images."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from efficientdet_pipeline.benchmarking.gate_shards import gate_shards
from efficientdet_pipeline.data.run_shards import spread_images
from efficientdet_pipeline.evaluation.class_evaluation import ClassEvaluation
from efficientdet_pipeline.evaluation.class_evaluators import evaluate_shards
from efficientdet_pipeline.export.class_formats import ClassFormat, Decibels, TrainedClassNetwork
from efficientdet_pipeline.export.gate import (
    MAX_DROP,
    MAX_DROP_QUANTIZED,
    Artifact,
    GateReport,
    check_accuracy,
    measure_artifacts,
)
from efficientdet_pipeline.inference.class_predictor import model_predictor
from efficientdet_pipeline.inference.probabilities import Probabilities, canvas_probabilities, load_probabilities
from efficientdet_pipeline.models.weights import TrainedWeights
from efficientdet_pipeline.options.export import GateOptions
from tfrmod.counted import counted

_ROUNDS = 5


@dataclass(frozen=True, kw_only=True)
class ClassGate:
    """Measures artifacts on validation images."""

    trained: TrainedClassNetwork
    files: Sequence[str]
    """Shards of the validation images."""
    limit: int | None
    """Images that are measured on; None for all."""
    max_drop: float | None = None
    """Of the score, that an artifact may lose; None for the defaults of floating point and int8."""

    def measure(self, folder: Path, formats: Sequence[ClassFormat], decibels: Mapping[str, Decibels]) -> GateReport:
        """Returns score, size and latency of the artifacts in a folder beside those of the checkpoint."""
        network = self.trained.network
        checkpoint = model_predictor(self.trained.model, network).probabilities
        on_canvas = canvas_probabilities(self._run_canvas(), network) if network.task == "segmentation" else None
        artifacts = [
            Artifact(
                name=each.name,
                path=each.path(folder, network),
                predictor=load_probabilities(each.path(folder, network), network, is_trusted=True),
                is_quantized=each.precision == "int8",
                decibels=decibels.get(each.name, {}),
                on_canvas=on_canvas if each.is_fixed else None,
            )
            for each in formats
        ]
        (image,) = spread_images(self.files, 1)
        first = self._evaluation(checkpoint)
        logging.info("Measuring the artifacts on %s.", counted(first.num_images, "validation image"))
        known = {id(checkpoint): first}

        def evaluate(predict: Probabilities) -> Mapping[str, Any]:
            # The checkpoint, and its canvas, are asked for more than once.
            found = known.get(id(predict)) or self._evaluation(predict)
            known[id(predict)] = found
            return found.metrics.as_dict()

        return measure_artifacts(
            checkpoint,
            artifacts,
            evaluate,
            num_images=first.num_images,
            metric=first.metrics.primary,
            max_drop=MAX_DROP if self.max_drop is None else self.max_drop,
            max_drop_quantized=MAX_DROP_QUANTIZED if self.max_drop is None else self.max_drop,
            milliseconds=_milliseconds(
                {"checkpoint": checkpoint, **{each.name: each.predictor for each in artifacts}}, image
            ),
        )

    def check(self, report: GateReport) -> None:
        """Makes sure that no artifact lost more than it may.

        Raises:
          AccuracyError: one did.
        """
        check_accuracy(report)

    def _evaluation(self, predict: Probabilities) -> ClassEvaluation:
        return evaluate_shards(predict, self.trained.network, self.files, {}, limit=self.limit)

    def _run_canvas(self) -> Callable[[np.ndarray], np.ndarray]:
        canvas = self.trained.graph.on_canvas(batch_size=1, dtype="float32", is_fixed=True)
        return lambda pixels: np.asarray(canvas.function(tf.constant(pixels)))


def class_gate(options: GateOptions, weights: TrainedWeights, trained: TrainedClassNetwork) -> ClassGate | None:
    """Returns the gate on the validation shards that the options or the run name; None where it is off or has none."""
    if not options.gate:
        return None
    files, _ = gate_shards(options, weights)
    if not files:
        return None
    return ClassGate(
        trained=trained,
        files=[str(file) for file in files],
        limit=options.gate_images or None,
        max_drop=options.max_ap_drop,
    )


def _milliseconds(predictors: Mapping[str, Probabilities], image: np.ndarray) -> dict[str, float]:
    """Returns the median latency of one image, end to end, by name; all take turns."""
    calls = {name: partial(predict, image) for name, predict in predictors.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(_ROUNDS + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if number:  # The first call traces and fills caches.
                seconds[name].append(time.perf_counter() - began)
    return {name: 1000 * statistics.median(times) for name, times in seconds.items()}
