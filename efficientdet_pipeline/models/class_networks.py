"""Networks that give probabilities of classes, of pixels or of images: which one a description beside weights is of."""

from pathlib import Path

import keras
from absl import logging
from efficientdet.classifier import build_classifier
from efficientdet.hparams_yaml import read_hparams_yaml
from efficientdet.unet import build_unet

from efficientdet_pipeline.errors import DataError, MissingError, OptionsError
from efficientdet_pipeline.models import classification, segmentation
from efficientdet_pipeline.models.classification import ClassificationNetwork, classification_network_of
from efficientdet_pipeline.models.segmentation import SegmentationNetwork, network_of
from efficientdet_pipeline.models.weights import TrainedWeights, trained_weights
from efficientdet_pipeline.options.evaluation import CheckpointOptions
from efficientdet_pipeline.options.general import RunOptions

ClassNetwork = SegmentationNetwork | ClassificationNetwork
TASKS = (segmentation.TASK, classification.TASK)


def class_task_of(description: Path) -> str:
    """Returns the task that a description beside weights names; empty for that of a detector, or none."""
    try:
        task = read_hparams_yaml(description).get("task")
    except (OSError, ValueError):
        # The caller that reads the network from it reports the error.
        return ""
    return str(task) if task in TASKS else ""


def read_class_network(path: Path) -> ClassNetwork:
    """Returns the network of trained weights, described in the YAML file beside them.

    Raises:
      MissingError: there is no such file.
      OptionsError: it is no description.
    """
    try:
        content = read_hparams_yaml(path)
    except FileNotFoundError:
        raise MissingError(f"There is no description of the network at {path}; name it by --path_yaml.") from None
    except ValueError as error:
        raise OptionsError(f"{error} It describes the network (--path_yaml).", option="path_yaml") from None
    if content.get("task") == classification.TASK:
        return classification_network_of(content, str(path))
    return network_of(content, str(path))


def class_weights_of(checkpoint: CheckpointOptions, run: RunOptions) -> TrainedWeights | None:
    """Returns the trained weights that the options name, if they are of a segmentation or a classification."""
    try:
        trained = trained_weights(checkpoint, run)
    except MissingError:
        # The caller then looks for a detector, and reports what is missing.
        return None
    return trained if class_task_of(trained.description) else None


def build_class_network(network: ClassNetwork) -> keras.Model:
    """Returns a network with random weights."""
    if isinstance(network, ClassificationNetwork):
        return build_classifier(network.config)
    return build_unet(network.config)


def load_class_network(trained: TrainedWeights) -> tuple[keras.Model, ClassNetwork]:
    """Returns the network of a checkpoint with its weights.

    Raises:
      DataError: the weights are damaged, or of another network.
    """
    network = read_class_network(trained.description)
    model = build_class_network(network)
    try:
        model.load_weights(trained.path)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{trained.path} must hold the weights of {network.name} as {trained.description} describes it. Received a "
            f"file that does not fit: {str(error).splitlines()[0]} Name another checkpoint by --path_ckpt."
        ) from error
    logging.info("Weights of %s: %s", network.name, trained.path)
    return model, network
