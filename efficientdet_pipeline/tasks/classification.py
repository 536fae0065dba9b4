"""Classification: the class of an image, measured by accuracy."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from absl import logging
from efficientdet.classification_training import ClassificationObjective
from efficientdet.classifier import ClassifierConfig, build_classifier
from efficientdet.imagenet import imagenet_config

from efficientdet_pipeline.augment.image_class import ClassAugmentConfig
from efficientdet_pipeline.data.class_batches import HostShare, training_class_batches
from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.errors import DataError, OptionsError
from efficientdet_pipeline.evaluation.classification_evaluator import (
    NUMBERS,
    PRIMARY,
    ClassificationScorer,
    format_classification,
)
from efficientdet_pipeline.export.class_export import export_trained_class_network
from efficientdet_pipeline.models.classification import (
    ClassificationNetwork,
    check_classifier_name,
    classification_network_of,
)
from efficientdet_pipeline.models.encoder_weights import load_encoder_weights
from efficientdet_pipeline.models.pretrained import (
    StartWeights,
    check_pretrained,
    chosen_by_chief,
)
from efficientdet_pipeline.models.weights import TrainedWeights
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.model import PretrainedOptions
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.tasks.idle_options import log_idle_options
from efficientdet_pipeline.tasks.task import LogLayout, TrainingInput, panels

LOSSES = ClassificationObjective.loss_names
LAYOUT = LogLayout(
    losses=LOSSES,
    metrics=NUMBERS,
    primary=PRIMARY,
    panels=panels(LOSSES, {"accuracy": ("accuracy", "balanced_accuracy"), "top-5 accuracy": ("top5",)}),
)
_IDLE = (
    *("segmentation_loss", "upsample", "skip", "concat_input", "scse", "hypercolumn"),
    *("jitter_min", "jitter_max", "gamma"),
)


class ClassificationTask:
    """Classification by an EfficientNet."""

    name = "classification"
    has_recipe = False

    def image_size(self, name: str, options: TrainOptions, hparams: HparamsGiven) -> tuple[int, int]:
        """Returns height and width of the square that the network sees."""
        check_classifier_name(name)
        if hparams.network:
            raise OptionsError(
                f"--hparams describe detectors. Received {', '.join(hparams.network)} with the task classification; "
                "leave them out.",
                option="hparams",
            )
        if not options.model.image_size:
            side = imagenet_config(name).image_size
            return side, side
        sides = [int(side) for side in options.model.image_size.split("x")]
        if sides[0] != sides[-1]:
            raise OptionsError(
                "image_size of a classification must be one number: a square is cut from the middle of each image. "
                f"Received {options.model.image_size}; try {max(sides)}.",
                option="image_size",
            )
        return sides[0], sides[0]

    def check_pretrained(self, options: TrainOptions, model_name: str) -> StartWeights:
        """Chooses, fetches and checks the weights of the network without its last layer."""
        log_idle_options(options, self.name, *_IDLE)
        return check_pretrained(*_encoder(options, model_name), cache_dir=options.data.images.cache_dir)

    def chosen_by_chief(self, options: TrainOptions, model_name: str, about: Mapping[str, object]) -> StartWeights:
        """Returns the weights that the chief of several processes chose."""
        return chosen_by_chief(*_encoder(options, model_name), about, cache_dir=options.data.images.cache_dir)

    def setup(self, name: str, options: TrainOptions, hparams: HparamsGiven, shards: Shards) -> "ClassificationSetup":
        """Returns the setup of a run.

        Raises:
          DataError: the records have fewer than two classes.
        """
        if shards.num_classes < 2:
            raise DataError(
                f"A classification needs images of two classes or more. The shards have {shards.num_classes}."
            )
        label_map = {class_id - 1: label for class_id, label in shards.label_map.items()}
        config = ClassifierConfig(backbone_name=name, num_classes=max(label_map) + 1)
        network = ClassificationNetwork(config, label_map, self.image_size(name, options, hparams))
        return ClassificationSetup(options=options, network=network, shards=shards)

    def setup_of_description(
        self, description: Mapping[str, object], options: TrainOptions, *, max_instances: int
    ) -> "ClassificationSetup":
        """Returns a setup without data."""
        del max_instances
        network = classification_network_of(description, "The description")
        return ClassificationSetup(options=options, network=network, shards=None)


def _encoder(options: TrainOptions, model_name: str) -> tuple[PretrainedOptions, str]:
    return options.pretrained, options.pretrained.backbone_ref or model_name


def augment_config(options: TrainOptions, side: int) -> ClassAugmentConfig | None:
    """Returns the augmentation of the options; None for images as an evaluation sees them, without --augment."""
    given, more = options.augmentation, options.class_networks
    if not given.augment:
        return None
    return ClassAugmentConfig(
        side=side,
        area_min=more.crop_area_min,
        horizontal_flip=0.5 if given.input_rand_hflip else 0.0,
        vertical_flip=0.5 if more.input_rand_vflip else 0.0,
        rotation=more.max_rotation,
        hsv_hue=given.hsv_hue,
        hsv_saturation=given.hsv_saturation,
        hsv_value=given.hsv_value,
    )


@dataclass(kw_only=True)
class ClassificationSetup:
    """Classification with the network and the data of one run."""

    options: TrainOptions
    network: ClassificationNetwork
    shards: Shards | None
    """None where only random batches are tried."""
    layout: LogLayout = LAYOUT

    def with_options(self, options: TrainOptions) -> "ClassificationSetup":
        """Returns the same setup with other options."""
        return dataclasses.replace(self, options=options)

    def build_model(self) -> keras.Model:
        """Returns the classifier with random weights."""
        return build_classifier(self.network.config)

    def load_pretrained(self, model: keras.Model, start: StartWeights) -> dict[str, object]:
        """Loads all weights but those of the head, whose classes are others."""
        cache, name = self.options.data.images.cache_dir, self.network.config.backbone_name
        report, record = load_encoder_weights(model.backbone, name, self.options.pretrained, start, cache_dir=cache)
        if report is not None:
            logging.info("The network starts from trained weights, its head from random ones. %s", report)
        return record

    def load_weights(self, model: keras.Model, path: Path) -> None:
        """Loads the weights of a checkpoint of this run."""
        model.load_weights(path)

    def objective(self) -> ClassificationObjective:
        """Returns the loss of the options."""
        return ClassificationObjective(label_smoothing=self.options.optimizer.label_smoothing)

    @contextlib.contextmanager
    def open_input(
        self, *, num_epochs: int, steps_per_epoch: int, cache: Path, host: tuple[int, int]
    ) -> Iterator[TrainingInput]:
        """Opens the training batches."""
        del num_epochs, steps_per_epoch, cache
        files = self._data.train
        augment = augment_config(self.options, self.network.side)
        yield TrainingInput(
            lambda position: training_class_batches(
                files,
                augment,
                self.network,
                batch_size=self.options.optimizer.batch_size,
                seed=self.options.seed.tf_random_seed,
                position=position,
                host=HostShare(*host),
            ),
            files=files,
        )

    def random_batch(self, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns images of noise, all of class 0."""
        images = np.random.default_rng(0).standard_normal((batch_size, *self.network.image_size, 3), dtype="float32")
        return images, np.zeros(batch_size, np.int32)

    def prepare_evaluation(self, *, is_chief: bool) -> None:
        """Does nothing: classes are checked while they are read."""

    def evaluator(self, model: keras.Model) -> ClassificationScorer | None:
        """Returns what evaluates a classifier."""
        if not self.options.evaluates:
            return None
        limit = self.options.evaluation.eval_samples
        return ClassificationScorer(model, self.network, self._data.val, limit=limit)

    def format_table(self, metrics: Mapping[str, object]) -> str:
        """Returns the metrics as a table."""
        return format_classification(metrics)

    def format_line(self, metrics: Mapping[str, object]) -> str:
        """Returns accuracy and top-5 accuracy."""
        return ", ".join(f"{name} {metrics[name]:.3f}" for name in (PRIMARY, "top5"))

    def export(self, model: keras.Model, trained: TrainedWeights, folder: Path) -> Mapping[str, Path]:
        """Writes the formats of the options."""
        return export_trained_class_network(model, self.network, trained, folder, self.options.export)

    @property
    def _data(self) -> Shards:
        if self.shards is None:
            raise ValueError("A setup of a description has no data. Received a call that needs shards; use `setup`.")
        return self.shards
