"""Dataset check of a trained run: its records, its losses, and the detections of its best weights."""

import contextlib
import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import efficientdet
from absl import logging
from efficientdet.config import DetectorConfig

from efficientdet_pipeline.data import prepare
from efficientdet_pipeline.data.batch_images import images_of_step
from efficientdet_pipeline.data.dataset_stats import balance_weights, read_shard_stats
from efficientdet_pipeline.data.input_pipeline import InputConfig
from efficientdet_pipeline.doctor import collect, label_errors, label_predictions
from efficientdet_pipeline.doctor.dataset_stats import DatasetStats, Plan
from efficientdet_pipeline.doctor.issue import Issue
from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.json_fields import integer_field, text_field
from efficientdet_pipeline.models.anchor_fit import AnchorGrid
from efficientdet_pipeline.models.build import DEFAULT_MODEL, Network, describe_network, read_network
from efficientdet_pipeline.models.weights import trained_weights
from efficientdet_pipeline.options.doctor import DoctorOptions
from efficientdet_pipeline.options.evaluation import CheckpointOptions
from efficientdet_pipeline.options.general import RunOptions
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.model import ModelOptions
from efficientdet_pipeline.runs import metadata
from tfrmod import manifest
from tfrmod.workers import Workers

DRAWING_NAME = "doctor.png"


def analyze_run(
    options: DoctorOptions, hparams: HparamsGiven, workers: Workers
) -> tuple[str, DatasetStats, Plan, list[Issue | None]]:
    """Returns a description of the run, the statistics of its records, its plan, and the issues of its training.

    Raises:
      MissingError: the folder is not that of a run.
    """
    folder = Path(options.run_dir)
    used = metadata.read_args(folder / "args.yaml")
    if not used:
        raise MissingError(
            f"run_dir must be the folder of a trained run, which holds args.yaml. Received {options.run_dir!r}; "
            "runs are in the workspace, by default `runs`."
        )
    task = ModelOptions(task=text_field(used, "task", ""), model_name=text_field(used, "model_name", "")).task_name
    if task != "detection":
        raise OptionsError(
            f"The doctor analyzes runs of detection. Received {options.run_dir}, a {task}; --mode=report "
            f"--model_dir={options.run_dir} shows its confusions and worst images.",
            option="run_dir",
        )
    files = _files(folder, used)
    with prepare.ProgressBar("looking", "file") as show:
        stats = collect.record_stats(files, workers, show)
    weights, network = _detector(options, hparams, folder, used)
    plan = Plan(
        grid=AnchorGrid.of(network.config),
        has_own_anchors=isinstance(network.config, DetectorConfig),
        max_detections=network.config.nms_configs["max_output_size"],
        max_instances=integer_field(used, "max_instances_per_image", 0) or None,
        num_classes=network.config.num_classes if weights else None,
        validates="val" in files,
        resize=network.config.resize,
    )
    issues = _loss_issues(folder, used, files.get("train", ()))
    if options.detect_photos and weights:
        issues += _label_issues(folder, weights, network, files, stats, options.detect_photos)
    return str(folder), stats, plan, issues


def _files(folder: Path, used: dict[str, Any]) -> dict[str, Sequence[Path]]:
    place = Path(used.get("output_path") or folder / "tfrecords")
    if (place / manifest.FILE_NAME).exists():
        converted = manifest.Manifest.load(place)
        return {
            name: [converted.folder / shard.name for shard in part.files] for name, part in converted.splits.items()
        }
    patterns = {"train": used.get("train_file_pattern"), "val": used.get("val_file_pattern")}
    files: dict[str, Sequence[Path]] = {
        name: manifest.shard_files(pattern, source=f"{name}_file_pattern of {folder}")
        for name, pattern in patterns.items()
        if pattern
    }
    if not files:
        raise MissingError(f"The run {folder} has no shards left: neither in {place} nor named in its args.yaml.")
    return files


def _detector(
    options: DoctorOptions, hparams: HparamsGiven, folder: Path, used: dict[str, Any]
) -> tuple[Path | None, Network]:
    """Returns the best weights of a run, None if it has none, and its network."""
    trained = None
    with contextlib.suppress(MissingError):
        trained = trained_weights(CheckpointOptions(path_ckpt=str(folder)), RunOptions())
    if trained is not None and trained.path.is_file():
        return trained.path, read_network(trained.description, options.model, hparams)
    logging.warning("The run %s has no checkpoint: only its shards and losses are checked.", folder)
    overrides = {name: used[name] for name in ("image_size", "resize") if used.get(name)}
    return None, describe_network(used.get("model_name") or used.get("backbone_ref") or DEFAULT_MODEL, overrides, {})


def _loss_issues(folder: Path, used: dict[str, Any], train: Sequence[Path]) -> list[Issue | None]:
    rows: list[dict[str, Any]] = []
    if (folder / "results.csv").exists():
        with open(folder / "results.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    lines: list[str] = []
    if (folder / "incidents.jsonl").exists():
        lines = (folder / "incidents.jsonl").read_text(encoding="utf-8").splitlines()
    incidents = [json.loads(line) for line in lines]
    return label_errors.loss_issues(rows, incidents, _images_of_steps(used, [str(path) for path in train]))


def _images_of_steps(used: dict[str, Any], files: Sequence[str]) -> Callable[[int], list[str]]:
    """Returns a function from a step number to the images of its batch."""
    if not files:
        return lambda step: []
    balance = used.get("class_balance")
    stream = InputConfig(
        files=tuple(files),
        batch_size=used["batch_size"],
        max_instances=1,
        canvas=(1, 1),
        seed=used["tf_random_seed"],
        repeat_first_batch=used.get("use_fake_data", False),
        weights=balance_weights(read_shard_stats(tuple(files)), balance) if balance else None,
    )
    return lambda step: [about["image"] for about in images_of_step(stream, 0, step)]


def _label_issues(
    folder: Path, weights: Path, network: Network, files: dict[str, Sequence[Path]], stats: DatasetStats, most: int
) -> list[Issue | None]:
    """Returns the issues of labels; draws the worst beside the detections."""
    try:
        predictions = label_predictions.predict_images(weights, network, files, stats, most)
    except efficientdet.CheckpointError as error:
        logging.warning("Labels are not checked: %s", error.finding)
        return []
    found = label_errors.find_label_errors(predictions, network.label_map)
    drawing = folder / "pictures" / DRAWING_NAME
    if label_predictions.draw_label_errors(drawing, predictions, found, files, network):
        return label_errors.label_issues(found, drawing=str(drawing))
    return label_errors.label_issues(found)
