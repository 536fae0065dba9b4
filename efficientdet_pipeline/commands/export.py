"""--mode=export and freeze_model.py: export of a checkpoint in several formats, with an accuracy gate."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from absl import logging

from efficientdet_pipeline.benchmarking.export_gate import require_compared, validation_gate
from efficientdet_pipeline.console import print_next_command, say
from efficientdet_pipeline.errors import CannotWriteError
from efficientdet_pipeline.export.bundle import ExportedFiles, write_bundle
from efficientdet_pipeline.export.formats import formats_of_detector, supported_formats
from efficientdet_pipeline.export.from_run import describe, export_place, given_recipe, load_trained_detector
from efficientdet_pipeline.export.tf_serving import write_next_version
from efficientdet_pipeline.inference.extras import check_installed, log_left_out
from efficientdet_pipeline.models.class_networks import class_weights_of
from efficientdet_pipeline.options.export import ExportOptions
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.parser import Sources
from efficientdet_pipeline.runs.output_files import check_output_files
from efficientdet_pipeline.system import rare_garbage_collection


def run(options: ExportOptions, read: Sources, hparams: HparamsGiven) -> None:
    """Exports the checkpoint that the options name."""
    del read
    with rare_garbage_collection():
        exported = export_checkpoint(options, hparams)
    for name, path in exported.artifacts.items():
        logging.info("%-16s  %s", name, path)
    place = next(iter(exported.artifacts.values()))
    print_next_command(
        "--mode=infer", f"--saved_model_dir={place}", "--input_image=IMAGE.jpg", "--output_image_dir=detections"
    )


def export_checkpoint(options: ExportOptions, hparams: HparamsGiven) -> ExportedFiles:
    """Exports the checkpoint that the options name, and returns the paths of the files.

    Raises:
      AccuracyError: an artifact lost too much AP, or was too inaccurate to be written; the others are written.
    """
    by_class = class_weights_of(options.checkpoint, options.run)
    if by_class is not None:
        from efficientdet_pipeline.commands.class_networks import export_class_network

        return export_class_network(options, by_class)
    check_installed(options.formats.packages())
    if options.serving_dir:
        check_output_files(Path(options.serving_dir), (), option="serving_dir")
    trained, detector = load_trained_detector(options, hparams)
    formats = formats_of_detector(options.formats, detector.config)
    log_left_out(options.formats.left_out(supported_formats(detector.config)))
    recipe = given_recipe(options)
    gate = validation_gate(options.accuracy, trained, detector)
    if gate is not None:
        formats = require_compared(formats)
        recipe = gate.search_recipe() if options.accuracy.quant_debug and options.quantizes_tflite else recipe
    if recipe is not None:
        detector = dataclasses.replace(detector, float_layers=recipe.float_layers)
    place = export_place(options, trained)
    description = describe(options, trained, detector, recipe)
    with _written_to(place, "path_output"):
        measure = gate.measure if gate is not None else None
        exported = write_bundle(detector, place, formats, description=description, measure=measure)
    if options.serving_dir:
        with _written_to(options.serving_dir, "serving_dir"):
            write_next_version(detector, Path(options.serving_dir), batch_size=options.serving_batch_size or None)
    if gate is not None and exported.report is not None:
        say(exported.report.table())
        gate.check(exported.report)
    exported.check_complete()
    return exported


@contextmanager
def _written_to(place: str | Path, option: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CannotWriteError(
            f"The export cannot be written to {place}: {error.strerror or error}. Choose another folder by "
            f"--{option}, or free some space there."
        ) from error
