"""The segmentation or classification that options name, checkpoint or export, and prediction of one image at a time."""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from efficientdet.imagenet import imagenet_config
from efficientdet.preprocess_imagenet import imagenet_input

from efficientdet_pipeline.inference.artifacts import check_one_artifact
from efficientdet_pipeline.inference.probabilities import Probabilities, load_probabilities
from efficientdet_pipeline.inference.segmentation import class_map_of, segmenter
from efficientdet_pipeline.models.class_networks import (
    ClassNetwork,
    class_task_of,
    load_class_network,
    read_class_network,
)
from efficientdet_pipeline.models.classification import ClassificationNetwork
from efficientdet_pipeline.models.segmentation import SegmentationNetwork
from efficientdet_pipeline.models.weights import DESCRIPTION, TrainedWeights
from tfrmod.replacement import finish_replacement


@dataclass(frozen=True)
class ClassPredictor:
    """A network ready for images."""

    network: ClassNetwork
    probabilities: Probabilities

    @property
    def background(self) -> int | None:
        """Returns the class id of a segmentation's background; None where every pixel has a class."""
        return 0 if isinstance(self.network, SegmentationNetwork) and self.network.has_background else None

    def class_map(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns, of a segmentation, the class of each pixel, (h, w) uint8, and the probabilities (h, w, k)."""
        chances = self.probabilities(image)
        return class_map_of(chances), chances


def checkpoint_predictor(trained: TrainedWeights) -> ClassPredictor:
    """Returns the predictor of a checkpoint."""
    model, network = load_class_network(trained)
    return model_predictor(model, network)


def model_predictor(model: keras.Model, network: ClassNetwork) -> ClassPredictor:
    """Returns the predictor of a network that holds its weights."""
    if isinstance(network, SegmentationNetwork):
        return ClassPredictor(network, segmenter(model))
    return ClassPredictor(network, classifier_probabilities(model, network))


def classifier_probabilities(model: keras.Model, network: ClassificationNetwork) -> Probabilities:
    """Returns a function from an image (h, w, 3), uint8 RGB, to the probabilities of the classes, (k,)."""
    imagenet = imagenet_config(network.config.backbone_name)

    def chances_of(image: tf.Tensor) -> tf.Tensor:
        logits = model(imagenet_input(image, imagenet, network.side)[tf.newaxis], training=False)
        return tf.nn.softmax(logits)[0]

    run = tf.function(chances_of, input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)])
    return lambda image: np.asarray(run(image))


def exported_predictor(
    path: Path, *, is_trusted: bool = False, num_threads: int | None = None
) -> ClassPredictor | None:
    """Returns the predictor of an export; None where it is not of a segmentation or classification network.

    Args:
      path: folder of the export, its SavedModel, or one of its files.
      is_trusted: load TensorFlow's own forms also where they can do more than calculate.
      num_threads: of the other forms' runtimes.

    Raises:
      OptionsError: it is a checkpoint, or a folder of several files.
      DataError: it is damaged, or can do more than calculate and is not trusted.
    """
    for folder in (path, path.parent):
        finish_replacement(folder)  # Of an export that was killed.
    place = path.parent if path.name == "saved_model.pb" else path
    place = place / "saved_model" if (place / "saved_model").is_dir() else place
    description = place.parent / DESCRIPTION
    if not class_task_of(description):
        return None
    check_one_artifact(path)
    network = read_class_network(description)
    return ClassPredictor(network, load_probabilities(place, network, is_trusted=is_trusted, num_threads=num_threads))
