"""Records of a run: options, metadata, environment."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import yaml
from absl import logging

from efficientdet_pipeline.options.dataset import DEMO, ImageOptions
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.parser import Sources
from efficientdet_pipeline.options.schema import Options, flatten
from efficientdet_pipeline.options.training import TrainOptions
from tfrmod import fileio
from tfrmod.manifest import Manifest
from tfrmod.urls import redact_url, redact_urls


def write_args(path: Path, options: Options, source_of: Mapping[str, str]) -> None:
    """Writes every option with its value, URLs without secrets; a comment gives the source of the value."""
    lines = ["# Every option of this run; values without a comment are defaults."]
    for name, given in flatten(options).items():
        value = redact_urls(redact_url(given)) if isinstance(given, str) else given
        text = yaml.safe_dump({name: value}, default_flow_style=False, allow_unicode=True, width=10**6).strip()
        remark = " ".join(redact_urls(source_of.get(name, "")).split())
        lines.append(f"{text}  # {remark}" if remark else text)
    fileio.write_file(path, "\n".join(lines) + "\n")


def read_args(path: Path) -> dict[str, object]:
    """Returns the options in an args.yaml; empty if the file does not exist."""
    if not path.is_file():
        return {}
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def update_json(path: Path, values: Mapping[str, object]) -> None:
    """Merges the values into the object of a JSON file, which is created if needed."""
    fileio.write_file(path, json.dumps({**read_json(path), **values}, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, object]:
    """Returns the object of a JSON file; empty if the file does not exist or is incomplete."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def dataset_metadata(options: ImageOptions, made: Manifest, *, mode: str) -> dict[str, object]:
    """Returns the metadata of images and shards."""
    split = options.train_valid_split
    counts = {name: split.num_images for name, split in made.splits.items()}
    return {
        "url": redact_url(options.url_dataset or options.data_dir),
        "label_map": made.label_map,
        "number_of_images": {"total": sum(counts.values()), "train": 0, "val": 0, "test": 0, **counts},
        "train_valid_split": options.train_valid_split,
        "valid_test_split": round(options.test_split / (1.0 - split), 6) if split < 1.0 else 0.0,
        "number_of_shards": {name: len(split.files) for name, split in made.splits.items()},
        "number_images_per_shard": {
            name: max((shard.num_images for shard in split.files), default=0) for name, split in made.splits.items()
        },
        "date": datetime.now().strftime("%d/%m/%Y %H:%M:%S"),
        "mode": mode,
    }


def training_metadata(
    options: TrainOptions, *, name: str, num_examples: int, shape: dict[str, object]
) -> dict[str, object]:
    """Returns the metadata of the training; `shape` identifies a run."""
    return {
        "url": redact_url(
            options.data.images.url_dataset or options.data.images.data_dir or options.train_file_pattern
        ),
        "backbone_reference": options.pretrained.backbone_ref or name,
        "model_name": name,
        "epochs": options.optimizer.num_epochs,
        "train_batch_size": options.optimizer.batch_size,
        "num_examples_per_epoch": num_examples,
        "autoaugment_policy": options.augmentation.autoaugment_policy,
        "date": datetime.now().strftime("%d/%m/%Y %H:%M:%S"),
        "mode": options.general.mode,
        "shaping": shape,
    }


SHORT_STEPS = 5_000
"""Number of training steps below which random weights need options other than the defaults (docs/scratch-recipe.md)."""


def sources_of(read: Sources, hparams: HparamsGiven) -> dict[str, str]:
    """Returns the source of each option that was given."""
    return {name: given.source for name, given in {**hparams.options, **read.given}.items()}


def log_options(path: Path, options: Options, read: Sources, hparams: HparamsGiven) -> None:
    """Logs the run's folder and the options that differ from the defaults, with their sources."""
    logging.info("Run %s", path)
    values = flatten(options)
    for name, source in sources_of(read, hparams).items():
        logging.info("  %s = %s  (%s)", name, values[name], source)
    for name, value in hparams.network.items():
        logging.info("  network: %s = %s  (--hparams)", name, value)
    if values.get("eval_master"):
        logging.warning("eval_master has no effect; as in google/automl.")
    if values.get("num_cores") is not None:
        logging.warning("num_cores has no effect: all devices are used.")
    for name in ("tpu_zone", "gcp_project"):
        if values.get(name):
            logging.warning("%s has no effect without a TPU.", name)
    demo = [name for name, given in read.given.items() if given.is_demo and name != "url_dataset"]
    if demo and values.get("url_dataset", DEMO) != DEMO:
        logging.warning(
            "Demo settings are used with your own images: %s. Delete the demo block of the file, or set your own "
            "values.",
            ", ".join(f"{name}={read.given[name].value}" for name in demo),
        )
    _warn_of_long_path(path)


def advise_on_random_weights(options: TrainOptions, num_steps: int) -> None:
    """Warns of options that do not suit short trainings from random weights."""
    is_demo = options.data.images.url_dataset == DEMO
    if options.optimizer.optimizer != "adam" and num_steps < SHORT_STEPS and not is_demo:
        logging.info(
            "With %d steps optimizer=%s learns little from random weights: on 292 images AP .321, but .534 "
            "with python3 main.py @configs/small-data-scratch.config --url_dataset=…",
            num_steps,
            options.optimizer.optimizer,
        )
    mixes = options.augmentation.mosaic or options.augmentation.copy_paste
    if options.augmentation.augment and mixes and num_steps < SHORT_STEPS:
        logging.warning(
            "From random weights, mosaic and copy_paste need more than %d steps: with --augment_recipe=mixing AP "
            "was .208, with the default recipe .390 (docs/scratch-recipe.md); try --augment_recipe=default.",
            num_steps,
        )


def _warn_of_long_path(path: Path) -> None:
    if len(str(path.resolve())) > 200:
        logging.warning(
            "The run's path is longer than 200 characters, which Windows may reject; try a shorter --workspace."
        )
