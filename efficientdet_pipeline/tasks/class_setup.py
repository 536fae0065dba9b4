"""What the runs of segmentation and classification have in common."""

import contextlib
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import keras
import tensorflow as tf
from absl import logging
from efficientdet.errors import CheckpointMismatchError

from efficientdet_pipeline.augment.variation import VariationArguments
from efficientdet_pipeline.data.class_batches import HostShare
from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.export.class_export import export_trained_class_network
from efficientdet_pipeline.export.class_formats import class_formats_of
from efficientdet_pipeline.models.class_networks import ClassNetwork, class_task_of, read_class_network
from efficientdet_pipeline.models.encoder_weights import load_encoder_weights
from efficientdet_pipeline.models.pretrained import ModelsWith, StartWeights, check_pretrained
from efficientdet_pipeline.models.weights import DESCRIPTION, TrainedWeights
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.tasks.idle_options import log_frozen_random_weights
from efficientdet_pipeline.tasks.task import TrainingInput


@dataclass(kw_only=True)
class ClassSetup(ABC):
    """A network that gives probabilities of classes, with the data of one run."""

    options: TrainOptions
    shards: Shards | None
    """None if only random batches are used."""

    @property
    @abstractmethod
    def class_network(self) -> ClassNetwork:
        """Returns the network to train."""

    @property
    @abstractmethod
    def models_with(self) -> ModelsWith:
        """Returns a function from an encoder to the names of the networks with it."""

    @abstractmethod
    def training_batches(self, position: int, *, host: HostShare) -> tf.data.Dataset:
        """Yields batches, endless, from sample number `position` on."""

    def with_options(self, options: TrainOptions) -> Self:
        """Returns the same setup with other options."""
        return dataclasses.replace(self, options=options)

    def load_pretrained(self, model: keras.Model, start: StartWeights) -> dict[str, object]:
        """Loads the weights of the encoder; the rest is random."""
        report, record = load_encoder_weights(
            model.backbone,
            self.class_network.config.backbone_name,
            self.options.pretrained,
            start,
            cache_dir=self.options.data.images.cache_dir,
            models_with=self.models_with,
        )
        if report is not None:
            logging.info("The encoder has pretrained weights, all else random ones. %s", report)
        else:
            log_frozen_random_weights(self.options)
        return record

    def load_weights(self, model: keras.Model, path: Path) -> None:
        """Loads the weights of a checkpoint of this run."""
        model.load_weights(path)

    @contextlib.contextmanager
    def open_input(
        self, *, num_epochs: int, steps_per_epoch: int, cache: Path, host: tuple[int, int]
    ) -> Iterator[TrainingInput]:
        """Opens the training batches."""
        del num_epochs, steps_per_epoch, cache
        share = HostShare(*host)
        yield TrainingInput(
            lambda position: self.training_batches(position, host=share), files=data_of(self.shards).train
        )

    def prepare_evaluation(self, *, is_chief: bool) -> None:
        """Does nothing: maps and classes are checked when they are read."""
        del is_chief

    def export(self, model: keras.Model, trained: TrainedWeights, folder: Path) -> Mapping[str, Path]:
        """Writes the formats of the options."""
        return export_trained_class_network(model, self.class_network, trained, folder, self.options.export)


def data_of(shards: Shards | None) -> Shards:
    """Returns the shards of a setup.

    Raises:
      ValueError: the setup has none.
    """
    if shards is None:
        raise ValueError("A setup of a description has no data. Received a call that needs shards; use `setup`.")
    return shards


def check_encoder_weights(options: TrainOptions, encoder: str, models_with: ModelsWith) -> StartWeights:
    """Chooses, fetches and checks the weights of an encoder; those of a segmentation or classification must have it.

    Raises:
      CheckpointMismatchError: they have another one.
    """
    given, folder = options.pretrained, options.data.images.cache_dir
    start = check_pretrained(given, encoder, cache_dir=folder, models_with=models_with)
    place = Path(start.place).expanduser()
    description = (place if place.is_dir() else place.parent) / DESCRIPTION
    if not start.place or not class_task_of(description):
        return start
    found = read_class_network(description).config.backbone_name
    if found != encoder:
        models = " or ".join(f"--model_name={name}" for name in models_with(found))
        raise CheckpointMismatchError(
            f"{place} must contain the backbone {encoder}. It contains {found}. (--{start.option}) Try {models}, or "
            "name other weights."
        )
    return start


def check_options(options: TrainOptions, hparams: HparamsGiven, task: str) -> None:
    """Raises OptionsError for hyper-parameters and export formats, if they are of detectors alone."""
    if options.evaluates:
        class_formats_of(options.export, task)
    if hparams.network:
        raise OptionsError(
            f"--hparams apply to detectors only. Received {', '.join(hparams.network)} with the task {task}; "
            "leave them out.",
            option="hparams",
        )


def variation_arguments(options: TrainOptions) -> VariationArguments:
    """Returns flips, rotation and colors of the options."""
    given, more = options.augmentation, options.class_networks
    return {
        "horizontal_flip": 0.5 if given.input_rand_hflip else 0.0,
        "vertical_flip": 0.5 if more.input_rand_vflip else 0.0,
        "rotation": more.max_rotation,
        "hsv_hue": given.hsv_hue,
        "hsv_saturation": given.hsv_saturation,
        "hsv_value": given.hsv_value,
    }
