"""Export inputs from a trained run: network, calibration images, thresholds, facts for the model card."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import efficientdet
import numpy as np
from absl import logging

from efficientdet_pipeline.compression.files import RANGES
from efficientdet_pipeline.data.run_shards import run_shards, spread_images
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.export.bundle import Description
from efficientdet_pipeline.export.formats import formats_of_detector
from efficientdet_pipeline.export.model_card import ModelFacts
from efficientdet_pipeline.export.quantization_search import Recipe, read_recipe
from efficientdet_pipeline.export.trained_detector import TrainedDetector
from efficientdet_pipeline.inference.thresholds import Thresholds, find_thresholds
from efficientdet_pipeline.json_fields import number_field
from efficientdet_pipeline.models.build import read_network
from efficientdet_pipeline.models.weights import TrainedWeights, load_trained, trained_weights
from efficientdet_pipeline.options.export import ExportOptions
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.schema import replace
from efficientdet_pipeline.runs import metadata
from efficientdet_pipeline.runs.run_dir import RunFolder
from tfrmod import manifest
from tfrmod.counted import counted

_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "mIoU", "pixel_accuracy")
"""Metrics of the model card, those of maps only of a detector with the head segmentation."""


def load_trained_detector(options: ExportOptions, hparams: HparamsGiven) -> tuple[TrainedWeights, TrainedDetector]:
    """Returns the weights that the options name, and the detector with them and its calibration images."""
    model = options.model
    if options.model_name_ and not model.model_name:
        model = replace(model, model_name=options.model_name_)
    trained = trained_weights(options.checkpoint, options.run, path_output=options.path_output)
    network = read_network(trained.description, model, hparams)
    images: Sequence[np.ndarray] = ()
    if any(each.is_quantized for each in formats_of_detector(options.formats, network.config)):
        pattern = options.accuracy.calibration_file_pattern
        images = calibration_images(trained.run, options.formats.calibration_images, pattern=pattern)
    detector = efficientdet.build_model(network.config)
    load_trained(detector, trained.path)
    return trained, TrainedDetector(
        model=detector,
        config=network.config,
        label_map=network.label_map,
        trained_names=network.trained_names,
        hparams=network.hparams,
        calibration=images,
        learnt_ranges=learnt_ranges(trained),
    )


def learnt_ranges(trained: TrainedWeights) -> Path | None:
    """Returns the file with the ranges of a quantization-aware training beside its weights; None without one."""
    folder = trained.path if trained.path.is_dir() else trained.path.parent
    return folder / RANGES if (folder / RANGES).is_file() else None


def export_place(options: ExportOptions, trained: TrainedWeights) -> Path:
    """Returns the folder of the export: path_output, else `export` in the run's folder or the current one."""
    if options.path_output:
        return Path(options.path_output).expanduser()
    return trained.run.export_path if trained.run is not None and trained.names_run else Path("export")


def given_recipe(options: ExportOptions) -> Recipe | None:
    """Returns the recipe of quant_recipe; None if it is not set, or no file needs it."""
    given = options.accuracy.quant_recipe
    return read_recipe(Path(given)) if given and options.quantizes_tflite else None


def describe(
    options: ExportOptions, trained: TrainedWeights, detector: TrainedDetector, recipe: Recipe | None
) -> Description:
    """Returns the information that is written beside the artifacts."""
    thresholds = run_thresholds(trained.run, trained.path)
    facts = model_facts(trained, detector.label_map, thresholds)
    facts = dataclasses.replace(facts, intended_use=options.intended_use, license=options.model_license)
    return Description(thresholds=thresholds, facts=facts, recipe=recipe)


def calibration_images(run: RunFolder | None, count: int, *, pattern: str = "") -> list[np.ndarray]:
    """Returns training images for calibration: uint8 RGB (h, w, 3).

    Args:
      run: its training shards are read.
      count: number of images, evenly spaced over the shards.
      pattern: glob of other shards.

    Raises:
      OptionsError: there are no shards.
    """
    files: Sequence[Path] = manifest.shard_files(pattern, source="--calibration_file_pattern") if pattern else ()
    if run is not None and not files:
        files, _ = run_shards(run, "train")
    if not files:
        where = f"the run {run.path} has none" if run is not None else "the checkpoint is not in the folder of a run"
        raise OptionsError(
            "calibration_file_pattern must name shards of images like those of training, from which int8 calibrates "
            "the "
            f"ranges of its activations. Received nothing, and {where}; try "
            "--calibration_file_pattern='shards/train-*', or leave the int8 formats out.",
            option="calibration_file_pattern",
        )
    images = spread_images(files, count)
    if len(images) < count:
        logging.warning(
            "Calibrating on %s: the shards contain no more (calibration_images=%d).",
            counted(len(images), "image"),
            count,
        )
    return images


def run_thresholds(run: RunFolder | None, weights: Path) -> Thresholds | None:
    """Returns the best thresholds of an evaluation; None if there is no thresholds file.

    Args:
      run: of the weights.
      weights: the checkpoint, whose folder is searched first.
    """
    folder = weights if weights.is_dir() else weights.parent
    found = find_thresholds((folder, *([run.path] if run is not None else [])))
    return None if found is None else found[1]


def model_facts(
    trained: TrainedWeights,
    label_map: Mapping[int, str],
    thresholds: Thresholds | None,
    *,
    metrics: Sequence[str] = _METRICS,
) -> ModelFacts:
    """Returns the model card's facts on data, accuracy and initial weights.

    Args:
      trained: the weights and their run.
      label_map: class id to name.
      thresholds: recommended thresholds.
      metrics: names of those that the card states.
    """
    about = metadata.read_json(trained.run.metadata) if trained.run is not None else {}
    measured = metadata.read_json(trained.run.metrics) if trained.run is not None else {}
    by_class = thresholds.by_class if thresholds is not None else {}
    return ModelFacts(
        data=_data(about),
        metrics={name: number_field(measured, name) for name in metrics if isinstance(measured.get(name), int | float)},
        thresholds={label_map.get(class_id, str(class_id)): score for class_id, score in by_class.items()},
        start=_start(about),
    )


def _data(about: Mapping[str, Any]) -> str:
    counts = about.get("number_of_images")
    if not isinstance(counts, dict) or not counts.get("total"):
        return str(about.get("url") or "")
    splits = ", ".join(f"{name} {counts[name]:,}" for name in ("train", "val", "test") if counts.get(name))
    source = about.get("url") or "an unknown source"
    return f"{counted(counts['total'], 'image')} from {source} ({splits})."


def _start(about: Mapping[str, Any]) -> str:
    if "pretrained" not in about:
        return ""
    source = about["pretrained"]
    if not isinstance(source, dict):
        return "random weights"
    return f"{source.get('place', 'unknown weights')} (--{source.get('option', 'pretrained_ckpt')})"
