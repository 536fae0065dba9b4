"""--mode=export and freeze_model.py: export a checkpoint to a SavedModel and a frozen graph."""

from pathlib import Path

import efficientdet
from absl import logging

from efficientdet_pipeline.console import print_next_command
from efficientdet_pipeline.errors import CannotWriteError
from efficientdet_pipeline.export import ExportedFiles, export
from efficientdet_pipeline.models.build import read_network
from efficientdet_pipeline.models.weights import load_trained, trained_weights
from efficientdet_pipeline.options.export import ExportOptions
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.parser import Sources
from efficientdet_pipeline.options.schema import replace


def run(options: ExportOptions, read: Sources, hparams: HparamsGiven) -> None:
    """Exports the checkpoint that the options name."""
    del read
    exported = export_checkpoint(options, hparams)
    print_next_command(
        "--mode=infer",
        f"--saved_model_dir={exported.saved_model}",
        "--input_image=PHOTO.jpg",
        "--output_image_dir=detections",
    )


def export_checkpoint(options: ExportOptions, hparams: HparamsGiven) -> ExportedFiles:
    """Exports the checkpoint that the options name, and returns where the files are."""
    model = options.model
    if options.model_name_ and not model.model_name:
        model = replace(model, model_name=options.model_name_)
    trained = trained_weights(options.checkpoint, options.run, path_output=options.path_output)
    network = read_network(trained.description, model, hparams)
    detector = efficientdet.build_model(network.config)
    load_trained(detector, trained.path)
    of_run = trained.run.export_path if trained.run is not None and trained.names_run else Path("export")
    place = options.path_output or of_run
    try:
        exported = export(detector, network.config, place, label_map=network.label_map, hparams=network.hparams)
    except OSError as error:
        raise CannotWriteError(
            f"The export could not be written to {place}: {error.strerror or error}. Name another place by "
            "--path_output, or free some space there."
        ) from error
    logging.info("saved model   %s\nfrozen graph  %s", exported.saved_model, exported.frozen_graph)
    return exported
