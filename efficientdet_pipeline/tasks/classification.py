"""Classification: the class of an image, measured by accuracy."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from efficientdet.classification_training import ClassificationObjective
from efficientdet.classifier import ClassifierConfig, build_classifier
from efficientdet.imagenet import imagenet_config

from efficientdet_pipeline.augment.image_class import ClassAugmentConfig
from efficientdet_pipeline.data.absent_classes import log_absent_classes
from efficientdet_pipeline.data.class_batches import HostShare, training_class_batches
from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.errors import DataError, OptionsError
from efficientdet_pipeline.evaluation.classification_evaluator import (
    NUMBERS,
    PRIMARY,
    ClassificationScorer,
    format_classification,
)
from efficientdet_pipeline.models.classification import (
    ClassificationNetwork,
    check_classifier_name,
    classification_network_of,
)
from efficientdet_pipeline.models.pretrained import ModelsWith, StartWeights, chosen_by_chief
from efficientdet_pipeline.models.segmentation import BACKBONES
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.tasks.class_setup import (
    ClassSetup,
    check_encoder_weights,
    check_options,
    data_of,
    variation_arguments,
)
from efficientdet_pipeline.tasks.idle_options import OF_DETECTORS, OF_SEGMENTATION, log_idle_options
from efficientdet_pipeline.tasks.task import LogLayout, panels

LOSSES = ClassificationObjective.loss_names
LAYOUT = LogLayout(
    losses=LOSSES,
    metrics=NUMBERS,
    primary=PRIMARY,
    panels=panels(LOSSES, {"accuracy": ("accuracy", "balanced_accuracy"), "top-5 accuracy": ("top5",)}),
)
_IDLE = (*OF_DETECTORS, *OF_SEGMENTATION, "jitter_min", "jitter_max", "gamma")


class ClassificationTask:
    """Classification by an EfficientNet."""

    name = "classification"
    has_recipe = False

    def image_size(self, name: str, options: TrainOptions, hparams: HparamsGiven) -> tuple[int, int]:
        """Returns height and width of the square that the network sees."""
        check_classifier_name(name)
        check_options(options, hparams, self.name)
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
        log_idle_options(options, self.name, _IDLE)
        return check_encoder_weights(options, _encoder(options, model_name), _models_with)

    def chosen_by_chief(self, options: TrainOptions, model_name: str, about: Mapping[str, object]) -> StartWeights:
        """Returns the weights that the chief of several processes chose."""
        encoder = _encoder(options, model_name)
        return chosen_by_chief(options.pretrained, encoder, about, cache_dir=options.data.images.cache_dir)

    def setup(self, name: str, options: TrainOptions, hparams: HparamsGiven, shards: Shards) -> "ClassificationSetup":
        """Returns the setup of a run.

        Raises:
          DataError: the records have fewer than two classes, or a class with two names.
        """
        classes = _classes_of(shards)
        if len(classes) < 2:
            raise DataError(f"A classification needs images of two classes or more. The shards have {len(classes)}.")
        _check_classes_present(shards)
        label_map = {class_id - 1: label for class_id, label in classes.items()}
        config = ClassifierConfig(backbone_name=name, num_classes=max(label_map) + 1)
        trained_names = {class_id - 1: label for class_id, label in shards.recorded_names.items()}
        network = ClassificationNetwork(config, label_map, self.image_size(name, options, hparams), trained_names)
        return ClassificationSetup(options=options, network=network, shards=shards)

    def setup_of_description(
        self, description: Mapping[str, object], options: TrainOptions, *, max_instances: int
    ) -> "ClassificationSetup":
        """Returns a setup without data."""
        del max_instances
        network = classification_network_of(description, "The description")
        return ClassificationSetup(options=options, network=network, shards=None)


def _classes_of(shards: Shards) -> dict[int, str]:
    """Returns the classes of a run; where it was given shards, with those that validation records alone have."""
    if shards.made is not None or not shards.val:
        return shards.label_map
    known, source = shards.recorded_names or shards.label_map, Path(shards.val[0]).parent
    for class_id, name in shards.val_counts.label_map.items():
        if known.get(class_id, name) != name:
            raise DataError(
                f"The class id {class_id} is {known[class_id]!r} in the training records and {name!r} in those of "
                f"{source}. Convert both datasets together, with one --label_map."
            )
        known = {**known, class_id: name}
    absent = [name for class_id, name in known.items() if class_id not in shards.label_map]
    log_absent_classes("training image", absent, "the network cannot learn this")
    return dict(sorted({**known, **shards.label_map}.items()))


def _check_classes_present(shards: Shards) -> None:
    """Warns of classes without training or validation images, where the run converted them."""
    splits = shards.made.splits if shards.made is not None else {}
    for name, what, effect in (
        ("train", "training", "the network cannot learn this"),
        ("val", "validation", "its recall is not known, and balanced accuracy is without it"),
    ):
        counts = splits[name].boxes_per_class if name in splits and splits[name].num_images else {}
        log_absent_classes(f"{what} image", [label for label, count in counts.items() if not count], effect)


def _encoder(options: TrainOptions, model_name: str) -> str:
    return options.pretrained.backbone_ref or model_name


def _models_with(backbone: str) -> tuple[str, ...]:
    return tuple(name for name in BACKBONES if name == backbone)


def augment_config(options: TrainOptions, side: int) -> ClassAugmentConfig | None:
    """Returns the augmentation of the options; None for images as an evaluation sees them, without --augment."""
    if not options.augmentation.augment:
        return None
    area_min = options.class_networks.crop_area_min
    return ClassAugmentConfig(side=side, area_min=area_min, **variation_arguments(options))


@dataclass(kw_only=True)
class ClassificationSetup(ClassSetup):
    """Classification with the network and the data of one run."""

    network: ClassificationNetwork
    layout: LogLayout = LAYOUT

    @property
    def class_network(self) -> ClassificationNetwork:
        """Returns the network to train."""
        return self.network

    @property
    def models_with(self) -> ModelsWith:
        """Returns a function from an encoder to the names of the classifiers with it."""
        return _models_with

    def build_model(self) -> keras.Model:
        """Returns the classifier with random weights."""
        return build_classifier(self.network.config)

    def objective(self) -> ClassificationObjective:
        """Returns the loss of the options."""
        return ClassificationObjective(label_smoothing=self.options.optimizer.label_smoothing)

    def training_batches(self, position: int, *, host: HostShare) -> tf.data.Dataset:
        """Yields batches, endless, from sample number `position` on."""
        return training_class_batches(
            data_of(self.shards).train,
            augment_config(self.options, self.network.side),
            self.network,
            batch_size=self.options.optimizer.batch_size,
            seed=self.options.seed.tf_random_seed,
            position=position,
            host=host,
        )

    def random_batch(self, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns images of noise, all of class 0."""
        images = np.random.default_rng(0).standard_normal((batch_size, *self.network.image_size, 3), dtype="float32")
        return images, np.zeros(batch_size, np.int32)

    def evaluator(self, model: keras.Model) -> ClassificationScorer | None:
        """Returns what evaluates a classifier."""
        if not self.options.evaluates:
            return None
        limit = self.options.evaluation.eval_samples
        return ClassificationScorer(model, self.network, data_of(self.shards).val_counts, limit=limit)

    def format_table(self, metrics: Mapping[str, object]) -> str:
        """Returns the metrics as a table."""
        return format_classification(metrics)

    def format_line(self, metrics: Mapping[str, object]) -> str:
        """Returns accuracy and top-5 accuracy."""
        return ", ".join(f"{name} {metrics[name]:.3f}" for name in (PRIMARY, "top5"))
