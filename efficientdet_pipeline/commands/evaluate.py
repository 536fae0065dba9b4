"""--mode=eval: COCO metrics of a checkpoint on shards."""

from pathlib import Path
from typing import Any

import efficientdet
from absl import logging

from efficientdet_pipeline.commands.network import read_network, trained_weights
from efficientdet_pipeline.commands.scoring import Scorer
from efficientdet_pipeline.commands.shards import named_classes
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.evaluation import format_table, write_metrics
from efficientdet_pipeline.options.reader import Sources
from efficientdet_pipeline.runs.folder import RunFolder
from tfrmod import manifest


def run(options: Any, read: Sources, hparams: Any) -> None:
    """Evaluates the checkpoint that the options name."""
    weights, description, folder = trained_weights(options)
    network = read_network(description, options, hparams)
    files = _files(options, folder)
    detector = efficientdet.build_model(network.config)
    logging.info("%s", efficientdet.load_checkpoint(detector, weights))
    scorer = Scorer(
        detector,
        network.config,
        files,
        label_map=network.label_map or named_classes(hparams.label_map),
        batch_size=options.batch_size,
        limit=options.eval_samples,
        truth_json=options.val_json_file,
    )
    metrics = scorer()
    logging.info("%s\n%s", network.config.name, format_table(metrics))
    name = f"metrics_{options.eval_name or 'eval'}.json"
    place = (folder.path if folder else weights if weights.is_dir() else weights.parent) / name
    write_metrics(place, {**metrics, "checkpoint": str(weights)}, _epoch(weights))
    logging.info("Written to %s", place)


def _files(options: Any, folder: RunFolder | None) -> list[str]:
    if options.val_file_pattern:
        return [str(path) for path in manifest.shard_files(options.val_file_pattern)]
    if folder is not None and folder.manifest.exists():
        made = manifest.Manifest.load(folder.manifest)
        if "val" in made.splits and made.splits["val"].num_images:
            return [str(made.folder / shard.name) for shard in made.splits["val"].files]
    raise OptionsError(
        "val_file_pattern must name shards to evaluate on. Received nothing, and the run has no validation shards of "
        "its own; try --val_file_pattern='shards/val-*'.",
        option="val_file_pattern",
    )


def _epoch(weights: Path) -> float:
    from efficientdet_pipeline.training import checkpoints

    folder = weights if weights.is_dir() else weights.parent
    return checkpoints.read_marker(folder)["epoch"] if (folder / checkpoints.MARKER).exists() else -1
