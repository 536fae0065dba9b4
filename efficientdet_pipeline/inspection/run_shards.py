"""Shards and network of an inspection: those that options name, or those of a run."""

from pathlib import Path
from typing import Any

from absl import logging
from efficientdet.config import DetectorConfig

from efficientdet_pipeline.data.run_shards import run_shards
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.inspection.stats import InspectionStats, split_names
from efficientdet_pipeline.models.build import DEFAULT_MODEL, named_config
from efficientdet_pipeline.options.hparams import HparamsGiven, network_overrides
from efficientdet_pipeline.options.inspect import InspectOptions
from efficientdet_pipeline.runs import metadata
from efficientdet_pipeline.runs.run_dir import find_run
from tfrmod import manifest


def shards_to_inspect(
    options: InspectOptions,
) -> tuple[dict[str, list[Path]], set[str], dict[str, Any], dict[int, str]]:
    """Returns shards by split, the splits to draw samples from, and the run's options and class names."""
    if options.file_pattern:
        files = split_names(manifest.shard_files(options.file_pattern, source="--file_pattern"))
        return files, set(files), {}, {}
    folder = find_run(options.run)
    used = metadata.read_args(folder.args)
    wanted = "val" if options.eval else "train"
    found = {split: run_shards(folder, split) for split in ("train", "val", "test")}
    files = {split: list(paths) for split, (paths, _) in found.items() if paths}
    names = next((made.label_map for _, made in found.values() if made is not None), {})
    if not files.get(wanted):
        raise OptionsError(
            f"file_pattern must name shards. Received nothing, and the run {folder.path} has no {wanted} shards; "
            "try --file_pattern='shards/train-*'.",
            option="file_pattern",
        )
    return files, {wanted}, used, names


def network_to_inspect(
    options: InspectOptions, used: dict[str, Any], hparams: HparamsGiven, contents: InspectionStats
) -> DetectorConfig:
    """Returns the network that samples are fitted to: as the options say, else that of the run."""
    if options.model.model_config or used.get("model_config"):
        logging.warning(
            "Anchors are those of google/automl's network: they are not drawn of detectors built from parts."
        )
    size = {"image_size": used["image_size"]} if used.get("image_size") else {}
    return named_config(
        options.model.model_name or used.get("model_name") or DEFAULT_MODEL,
        {
            "num_classes": max([1, *contents.label_map]),
            **used["hparams"],
            **size,
            **network_overrides(options.model, hparams),
        },
    )
