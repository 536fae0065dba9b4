"""What a run on JAX leaves to TensorFlow: the export, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import keras
from absl import logging

from efficientdet_pipeline.console import command_line
from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.export import HPARAMS, LABEL_MAP, ExportedFiles, export
from efficientdet_pipeline.models.build import Network

_COMMAND = "import sys; from efficientdet_pipeline.cli import main; sys.exit(main())"


def export_in_subprocess(detector: keras.Model, network: Network, checkpoint: Path, place: Path) -> ExportedFiles:
    """Exports a detector that holds the weights of a checkpoint; returns where the files lie.

    Raises:
      DataError: the other process failed.
    """
    if keras.backend.backend() == "tensorflow":
        return export(detector, network.config, place, label_map=network.label_map, hparams=network.hparams)
    logging.info("Exporting through TensorFlow.")
    # JAX holds the accelerators, and an export needs none.
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    arguments = ["--mode=export", f"--path_ckpt={checkpoint}", f"--path_output={place}"]
    done = subprocess.run(
        [sys.executable, "-c", _COMMAND, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DataError(
            f"The training is done and kept in {checkpoint}, but its export failed: "
            f"{done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'without a word'}. "
            f"Try `{command_line(*arguments)}`."
        )
    frozen_graph = place / f"{network.config.name}_frozen.pb"
    return ExportedFiles(place / "saved_model", frozen_graph, place / LABEL_MAP, place / HPARAMS)
