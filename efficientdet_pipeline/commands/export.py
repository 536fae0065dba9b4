"""--mode=export and freeze_model.py: a checkpoint to a SavedModel and a frozen graph."""

from pathlib import Path
from typing import Any

import efficientdet
from absl import logging

from efficientdet_pipeline.commands.network import read_network, trained_weights
from efficientdet_pipeline.commands.shards import named_classes
from efficientdet_pipeline.console import suggest
from efficientdet_pipeline.exporting import export
from efficientdet_pipeline.options.reader import Sources


def run(options: Any, read: Sources, hparams: Any) -> None:
    """Exports the checkpoint that the options name."""
    weights, description, folder = trained_weights(options)
    network = read_network(description, options, hparams)
    detector = efficientdet.build_model(network.config)
    logging.info("%s", efficientdet.load_checkpoint(detector, weights))
    place = options.path_output or (folder.export_path if folder else Path("export"))
    exported = export(
        detector,
        network.config,
        place,
        label_map=network.label_map or named_classes(hparams.label_map),
        hparams=network.hparams,
    )
    logging.info("saved model   %s\nfrozen graph  %s", exported.saved_model, exported.frozen_graph)
    suggest(
        "--mode=infer",
        f"--saved_model_dir={exported.saved_model}",
        "--input_image=PHOTO.jpg",
        "--output_image_dir=detections",
    )
