"""Accuracy and latency of the artifacts of an export, and the layers that int8 must keep in float."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from efficientdet_pipeline.benchmarking.gate_shards import gate_shards
from efficientdet_pipeline.benchmarking.latency import Candidate, Plan, measure_latency
from efficientdet_pipeline.data.dataset_info import NAMES_IN_SHARDS
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.evaluation.ground_truth import DetectorClasses, ground_truth
from efficientdet_pipeline.evaluation.predictor_evaluation import LabeledImage, evaluate_predictor
from efficientdet_pipeline.evaluation.shard_samples import validation_samples
from efficientdet_pipeline.export.bundle import Decibels
from efficientdet_pipeline.export.formats import ExportFormat, formats_of
from efficientdet_pipeline.export.gate import (
    MAX_DROP,
    MAX_DROP_QUANTIZED,
    Artifact,
    GateReport,
    check_accuracy,
    measure_artifacts,
)
from efficientdet_pipeline.export.quantization_search import QuantizationSearch, Recipe
from efficientdet_pipeline.export.trained_detector import TrainedDetector
from efficientdet_pipeline.inference.predictor import Predictor, model_predictor
from efficientdet_pipeline.inference.raw_heads import RawHeadsPredictor
from efficientdet_pipeline.inference.tflite_loader import TfliteRunner, tflite_predictor
from efficientdet_pipeline.json_fields import object_field, text_field
from efficientdet_pipeline.models.weights import TrainedWeights
from efficientdet_pipeline.options.export import GateOptions
from efficientdet_pipeline.runs import metadata
from tfrmod.counted import counted

STRETCHED = " (stretched)"
"""Suffix of an artifact's name when images are stretched as in MediaPipe, unlike in training."""
_ROUNDS = 5
_NUM_LAYERS = 5
_RAW_INT8 = "tflite_int8"


@dataclass(frozen=True, kw_only=True)
class ExportGate:
    """Measures artifacts on validation images."""

    detector: TrainedDetector
    samples: Sequence[LabeledImage]
    """Validation images and their ground truth."""
    max_drop: float | None = None
    """Maximum loss of AP; None for the defaults of floating point and int8."""

    @property
    def limits(self) -> tuple[float, float]:
        """Maximum loss of AP of a floating-point artifact, and of an int8 one."""
        return (MAX_DROP, MAX_DROP_QUANTIZED) if self.max_drop is None else (self.max_drop, self.max_drop)

    def evaluate(self, predictor: Predictor) -> dict[str, Any]:
        """Returns the COCO metrics of a predictor on the images."""
        return evaluate_predictor(predictor, self.samples, self.detector.label_map)

    @property
    def checkpoint(self) -> Predictor:
        """The trained network."""
        return model_predictor(self.detector.model, self.detector.config, mode=self.detector.mode)

    def measure(self, folder: Path, formats: Sequence[ExportFormat], decibels: Decibels) -> GateReport:
        """Returns AP, size and latency of the artifacts in a folder, and of the checkpoint."""
        logging.info("Measuring the artifacts on %s.", counted(len(self.samples), "validation image"))
        checkpoint = self.checkpoint
        artifacts: list[Artifact[Predictor]] = []
        for each in formats:
            artifacts += self._artifacts(each, each.path(folder, self.detector.config), decibels.get(each.name, {}))
        max_drop, max_drop_quantized = self.limits
        predictors = {"checkpoint": checkpoint, **{each.name: each.predictor for each in artifacts}}
        report = measure_artifacts(
            checkpoint,
            artifacts,
            self.evaluate,
            num_images=len(self.samples),
            max_drop=max_drop,
            max_drop_quantized=max_drop_quantized,
            milliseconds=_milliseconds(predictors, self.samples[0][1]()),
        )
        _warn_of_stretching(report)
        return report

    def _artifacts(self, each: ExportFormat, path: Path, decibels: Mapping[str, float]) -> list[Artifact[Predictor]]:
        """Returns the artifact of a format as this program feeds it, and as MediaPipe does where that differs."""
        config = self.detector.config
        if each.load is None:
            logging.warning("%s is not measured: this program does not run it.", each.name)
            return []
        artifact = Artifact(
            name=each.name,
            path=path,
            predictor=each.load(path, config),
            is_quantized=each.is_quantized,
            suppresses_like=each.suppresses_like,
            decibels=decibels,
        )
        if not each.suppresses_like or config.resize == "stretch":
            return [artifact]
        stretched = replace(
            artifact,
            name=each.name + STRETCHED,
            predictor=tflite_predictor(path, config, resize="stretch"),
            max_drop=1.0,
        )
        return [artifact, stretched]

    def check(self, report: GateReport) -> None:
        """Checks that no artifact lost too much AP, and names the layers with the largest int8 error.

        Raises:
          AccuracyError: an artifact lost too much.
        """
        noisy: dict[str, list[tuple[str, float]]] = {}
        if any(each.name == _RAW_INT8 and not each.is_within for each in report.artifacts):
            ratios = QuantizationSearch(self.detector).layer_ratios()[:_NUM_LAYERS]
            noisy[_RAW_INT8] = [(each.short_name, each.decibels) for each in ratios]
        check_accuracy(report, noisy_layers=noisy)

    def search_recipe(self) -> Recipe:
        """Returns the smallest set of layers of int8 TFLite to keep in float so that the loss of AP is allowed.

        Raises:
          AccuracyError: the loss is too large even with all layers in float.
        """
        logging.info("Searching for the layers to keep in float; this takes minutes.")
        config, mode = self.detector.config, self.detector.mode
        search = QuantizationSearch(self.detector)

        def score_of(content: bytes) -> float:
            run = TfliteRunner(content).run_heads
            predictor = RawHeadsPredictor(run, config, path=Path("int8"), mode=mode)
            score = float(self.evaluate(predictor)["AP"])
            logging.info("AP %.4f with a file of %.1f MB.", score, len(content) / 1e6)
            return score

        lowest = float(self.evaluate(self.checkpoint)["AP"]) - self.limits[1]
        recipe = search.smallest_recipe(score_of, min_score=lowest)
        logging.info(
            "%d of %d layers stay in float; AP %.4f.", len(recipe.float_layers), recipe.num_layers, recipe.score
        )
        return recipe


def validation_gate(options: GateOptions, trained: TrainedWeights, detector: TrainedDetector) -> ExportGate | None:
    """Returns the gate on the validation shards that the options or the run name; None without shards or gate.

    Raises:
      OptionsError: there are no validation images with boxes, which quant_debug needs.
    """
    gate = _gate_on_shards(options, trained, detector) if options.gate else None
    if gate is None and options.quant_debug:
        raise OptionsError(
            "quant_debug needs validation images with boxes, to search for the layers that lose AP. Received none; "
            "name shards by --val_file_pattern, or leave --quant_debug out.",
            option="quant_debug",
        )
    return gate


def _gate_on_shards(options: GateOptions, trained: TrainedWeights, detector: TrainedDetector) -> ExportGate | None:
    files, made = gate_shards(options, trained)
    if not files:
        return None
    renamed = object_field(metadata.read_json(trained.run.metadata), NAMES_IN_SHARDS) if trained.run is not None else {}
    classes = DetectorClasses(
        num_classes=detector.config.num_classes,
        label_map=detector.label_map,
        other_names={
            **{int(class_id): text_field(renamed, class_id) for class_id in renamed},
            **detector.trained_names,
        },
    )
    samples = validation_samples(ground_truth(files, classes, made=made), options.gate_images or None)
    if not any(len(truth.boxes) for truth, _ in samples):
        logging.warning("The accuracy of the artifacts is not measured: the validation images contain no boxes.")
        return None
    return ExportGate(detector=detector, samples=samples, max_drop=options.max_ap_drop)


def _milliseconds(predictors: Mapping[str, Predictor], image: np.ndarray) -> dict[str, float]:
    """Returns the median latency of one image, end to end, by name."""
    candidates = [Candidate(name=name, predictor=predictor) for name, predictor in predictors.items()]
    plan = Plan(image_size=(image.shape[0], image.shape[1]), rounds=_ROUNDS, warmup=2)
    return {each.name: each.wall["p50"] for each in measure_latency(candidates, plan)}


def _warn_of_stretching(report: GateReport) -> None:
    by_name = {each.name: each for each in report.artifacts}
    for name, each in by_name.items():
        own = by_name.get(name.removesuffix(STRETCHED))
        if own is not None and own is not each and each.drop - own.drop > own.max_drop:
            logging.warning(
                "MediaPipe stretches images to the network's canvas, while this detector was trained on images that "
                "keep their aspect ratio: stretched, %s has AP %.4f instead of %.4f. Train "
                "with --resize=stretch for MediaPipe, or resize images as this program does.",
                own.name,
                each.score,
                own.score,
            )


def require_compared(formats: Sequence[ExportFormat]) -> list[ExportFormat]:
    """Returns the formats and those that they are compared with, in the order of the table."""
    needed = {each.suppresses_like for each in formats} - {each.name for each in formats} - {""}
    if needed:
        logging.info(
            "Also writing %s, to separate losses of non-maximum suppression from losses of the network.",
            ", ".join(needed),
        )
    return formats_of([*(each.name for each in formats), *needed])
