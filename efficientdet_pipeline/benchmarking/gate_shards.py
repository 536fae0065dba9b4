"""Validation shards on which the accuracy gate of an export measures."""

from collections.abc import Sequence
from pathlib import Path

from absl import logging

from efficientdet_pipeline.data.run_shards import run_shards
from efficientdet_pipeline.models.weights import TrainedWeights
from efficientdet_pipeline.options.export import GateOptions
from tfrmod import manifest


def gate_shards(options: GateOptions, trained: TrainedWeights) -> tuple[Sequence[Path], manifest.Manifest | None]:
    """Returns the validation shards that the options or the run name, and their manifest; warns of none."""
    pattern = options.val_file_pattern
    files: Sequence[Path] = manifest.shard_files(pattern, source="--val_file_pattern") if pattern else ()
    made = None
    if trained.run is not None and not files:
        files, made = run_shards(trained.run, "val")
    if not files:
        logging.warning(
            "The accuracy of the artifacts is not measured: %s has no known validation shards. Name them by "
            "--val_file_pattern, or --nogate.",
            trained.path,
        )
    return files, made
