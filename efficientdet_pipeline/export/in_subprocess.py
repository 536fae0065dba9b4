"""Export of a run on JAX in a separate process with TensorFlow."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import keras
from absl import logging

from efficientdet_pipeline.console import command_line
from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.export.bundle import Description, ExportedFiles, write_bundle
from efficientdet_pipeline.export.formats import TENSORFLOW_FORMATS, formats_of_detector, supported_formats
from efficientdet_pipeline.export.from_run import calibration_images, learnt_ranges, model_facts, run_thresholds
from efficientdet_pipeline.export.trained_detector import TrainedDetector
from efficientdet_pipeline.inference.extras import log_left_out
from efficientdet_pipeline.models.build import Network
from efficientdet_pipeline.models.weights import TrainedWeights
from efficientdet_pipeline.options.export import FormatOptions

_COMMAND = "import sys; from efficientdet_pipeline.cli import main; sys.exit(main())"


def export_in_subprocess(
    detector: keras.Model, network: Network, trained: TrainedWeights, place: Path, options: FormatOptions
) -> ExportedFiles:
    """Exports a detector with the weights of a run's checkpoint; returns the paths of the files.

    Raises:
      AccuracyError: a format was too inaccurate to be written; the others are written.
      DataError: the other process failed.
    """
    formats = formats_of_detector(options, network.config)
    log_left_out(options.left_out(supported_formats(network.config)))
    log_unmeasured([each.name for each in formats], trained)
    if keras.backend.backend() == "tensorflow":
        count = options.calibration_images
        exported = TrainedDetector(
            model=detector,
            config=network.config,
            label_map=network.label_map,
            hparams=network.hparams,
            calibration=calibration_images(trained.run, count) if any(each.is_quantized for each in formats) else (),
            learnt_ranges=learnt_ranges(trained),
        )
        thresholds = run_thresholds(trained.run, trained.path)
        description = Description(thresholds=thresholds, facts=model_facts(trained, network.label_map, thresholds))
        files = write_bundle(exported, place, formats, description=description)
        files.check_complete()
        return files
    export_by_tensorflow(trained, place, options)
    artifacts = {each.name: each.path(place, network.config) for each in formats}
    return ExportedFiles(folder=place, artifacts=artifacts, decibels={})


def log_unmeasured(formats: Sequence[str], trained: TrainedWeights) -> None:
    """Logs which formats the export at the end of a training does not compare with the checkpoint, and what does."""
    others = [name for name in formats if name not in TENSORFLOW_FORMATS]
    if others and trained.run is not None:
        command = command_line("--mode=export", f"--model_dir={trained.run.path}", f"--formats={','.join(formats)}")
        logging.info("The accuracy of %s is not measured here; `%s` measures it.", ", ".join(others), command)


def export_by_tensorflow(trained: TrainedWeights, place: Path, options: FormatOptions) -> None:
    """Exports a checkpoint in a process of its own.

    Raises:
      DataError: the other process failed.
    """
    logging.info("Exporting with TensorFlow.")
    # JAX holds the accelerators, and an export needs none.
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    arguments = ["--mode=export", f"--path_ckpt={trained.path}", f"--path_output={place}", "--nogate"]
    arguments += [f"--formats={options.formats}", f"--calibration_images={options.calibration_images}"]
    done = subprocess.run(
        [sys.executable, "-c", _COMMAND, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DataError(
            f"The training is complete and saved in {trained.path}, but its export failed: "
            f"{done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'without a message'}. "
            f"Try `{command_line(*arguments)}`."
        )
