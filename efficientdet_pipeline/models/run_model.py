"""The trained Keras model of a run, for notebooks."""

from pathlib import Path
from typing import Protocol

import efficientdet
from efficientdet.any_detector import AnyDetector, AnyDetectorConfig

from efficientdet_pipeline.models.build import read_network
from efficientdet_pipeline.models.weights import load_trained, trained_weights
from efficientdet_pipeline.options.evaluation import CheckpointOptions
from efficientdet_pipeline.options.general import RunOptions
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.model import ModelOptions


class HasFolder(Protocol):
    """The result of `edp.train`."""

    @property
    def folder(self) -> Path:
        """Folder of the run."""


def load_model(run: HasFolder | str | Path) -> tuple[AnyDetector, AnyDetectorConfig, dict[int, str]]:
    """Returns the trained model of a run, its config, and its class names by id.

    Args:
      run: the result of `edp.train`, the folder of a run, or a checkpoint.

    Raises:
      MissingError: the run or checkpoint does not exist, or is not trained yet.
    """
    place = str(run) if isinstance(run, str | Path) else str(run.folder)
    trained = trained_weights(CheckpointOptions(path_ckpt=place), RunOptions())
    network = read_network(trained.description, ModelOptions(), HparamsGiven())
    model = efficientdet.build_model(network.config)
    load_trained(model, trained.path)
    return model, network.config, network.label_map
