"""Segmentation network that the options name, checkpoint or SavedModel, for prediction image by image."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from efficientdet.unet import build_unet

from efficientdet_pipeline.errors import DataError, MissingError
from efficientdet_pipeline.inference.model_safety import check_saved_model
from efficientdet_pipeline.inference.segmentation import class_map_of, segmenter
from efficientdet_pipeline.models.segmentation import SegmentationNetwork, is_segmentation, read_segmentation_network
from efficientdet_pipeline.models.weights import DESCRIPTION, TrainedWeights, trained_weights
from efficientdet_pipeline.options.evaluation import CheckpointOptions
from efficientdet_pipeline.options.general import RunOptions


@dataclass(frozen=True)
class SegmentationPredictor:
    """A network with its function for inference."""

    network: SegmentationNetwork
    probabilities: Callable[[np.ndarray], np.ndarray]
    """Image (h, w, 3), uint8 RGB → (h, w, k) float32; one column is the probability of class 1."""

    @property
    def background(self) -> int | None:
        """Returns the class id of the background; None if every pixel has a class."""
        return 0 if self.network.has_background else None

    def class_map(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the class of each pixel, (h, w) uint8, and the probabilities."""
        chances = self.probabilities(image)
        return class_map_of(chances), chances


def segmentation_weights(checkpoint: CheckpointOptions, run: RunOptions) -> TrainedWeights | None:
    """Returns the trained weights that the options name, if they belong to a segmentation network."""
    try:
        trained = trained_weights(checkpoint, run)
    except MissingError:
        # Loading a detector reports what is missing.
        return None
    return trained if is_segmentation(trained.description) else None


def load_segmentation(trained: TrainedWeights) -> tuple[keras.Model, SegmentationNetwork]:
    """Returns the network of a checkpoint with its weights.

    Raises:
      DataError: the weights are damaged, or of another network.
    """
    network = read_segmentation_network(trained.description)
    model = build_unet(network.config)
    try:
        model.load_weights(trained.path)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{trained.path} must contain the weights of {network.name} as {trained.description} describes it. "
            "Received a "
            f"file that does not fit: {str(error).splitlines()[0]} Name another checkpoint by --path_ckpt."
        ) from error
    logging.info("Weights of %s: %s", network.name, trained.path)
    return model, network


def checkpoint_predictor(trained: TrainedWeights) -> SegmentationPredictor:
    """Returns the predictor of a checkpoint."""
    model, network = load_segmentation(trained)
    return SegmentationPredictor(network, segmenter(model))


def exported_predictor(path: Path, *, is_trusted: bool) -> SegmentationPredictor | None:
    """Returns the predictor of an exported SavedModel; None if the export is not a segmentation network.

    Raises:
      DataError: it is damaged, or not trusted and contains operations that do more than compute.
    """
    folder = path / "saved_model" if (path / "saved_model").is_dir() else path
    description = folder.parent / DESCRIPTION
    if not is_segmentation(description):
        return None
    if not is_trusted:
        check_saved_model(folder)
    return SegmentationPredictor(read_segmentation_network(description), _Served(tf.saved_model.load(str(folder))))


class _Served:
    """A loaded SavedModel as a function; it keeps a reference to the model, which owns the variables."""

    def __init__(self, loaded: Any) -> None:
        self.loaded, self.serve = loaded, loaded.signatures["serving_default"]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return np.asarray(self.serve(images=tf.constant(image[None]))["probabilities"][0])
