"""Segmentation task: the class of each pixel, evaluated by mean intersection over union."""

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from efficientdet.imagenet import ImageNetConfig, imagenet_config
from efficientdet.segmentation_losses import SegmentationLossOptions, parse_loss
from efficientdet.segmentation_training import SegmentationObjective
from efficientdet.unet import build_unet

from efficientdet_pipeline.augment.semantic_map import IGNORE_ID, SemanticAugmentConfig
from efficientdet_pipeline.data.class_batches import HostShare
from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.data.semantic_batches import SemanticClasses, training_semantic_batches
from efficientdet_pipeline.data.semantic_facts import check_classes_present, names_beside, uses_background
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.evaluation.segmentation_evaluator import NUMBERS, PRIMARY, SegmentationScorer, format_metrics
from efficientdet_pipeline.models.pretrained import ModelsWith, StartWeights, chosen_by_chief
from efficientdet_pipeline.models.segmentation import IMAGE_SIZE, MODELS, SegmentationNetwork, network_of, unet_config
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.tasks.class_setup import (
    ClassSetup,
    check_encoder_weights,
    check_options,
    data_of,
    variation_arguments,
)
from efficientdet_pipeline.tasks.idle_options import OF_DETECTORS, log_idle_options
from efficientdet_pipeline.tasks.task import LogLayout, panels

BACKGROUND = "background"


class SegmentationTask:
    """Semantic segmentation by a U-Net."""

    name = "segmentation"
    has_recipe = False

    def image_size(self, name: str, options: TrainOptions, hparams: HparamsGiven) -> tuple[int, int]:
        """Returns height and width of the training canvas."""
        unet_config(name, options.segmentation, num_classes=2)
        _loss(options)
        check_options(options, hparams, self.name)
        if not options.model.image_size:
            return IMAGE_SIZE
        sides = [int(side) for side in options.model.image_size.split("x")]
        return sides[-1], sides[0]

    def check_pretrained(self, options: TrainOptions, model_name: str) -> StartWeights:
        """Chooses, fetches and checks the weights of the encoder."""
        log_idle_options(options, self.name, (*OF_DETECTORS, "crop_area_min"))
        return check_encoder_weights(options, _encoder(options, model_name), _models_with)

    def chosen_by_chief(self, options: TrainOptions, model_name: str, about: Mapping[str, object]) -> StartWeights:
        """Returns the weights that the chief of several processes chose."""
        encoder = _encoder(options, model_name)
        return chosen_by_chief(options.pretrained, encoder, about, cache_dir=options.data.images.cache_dir)

    def setup(self, name: str, options: TrainOptions, hparams: HparamsGiven, shards: Shards) -> "SegmentationSetup":
        """Returns the setup of a run."""
        del hparams
        classes = shards.label_map or names_beside([*shards.train, *shards.val])
        has_background = uses_background(shards.train)
        check_classes_present(shards.train, shards.val, classes, num_train=shards.num_train)
        shift = 0 if has_background else -1
        names = {class_id + shift: label for class_id, label in classes.items()}
        label_map = {0: BACKGROUND, **names} if has_background else names
        num_classes = max(label_map) + 1
        config = unet_config(name, options.segmentation, num_classes=max(2, num_classes))
        network = SegmentationNetwork(config, label_map, self.image_size(name, options, HparamsGiven()), has_background)
        return SegmentationSetup(options=options, network=network, shards=shards)

    def setup_of_description(
        self, description: Mapping[str, object], options: TrainOptions, *, max_instances: int
    ) -> "SegmentationSetup":
        """Returns a setup without data."""
        del max_instances
        return SegmentationSetup(options=options, network=network_of(description, "The description"), shards=None)


def _encoder(options: TrainOptions, model_name: str) -> str:
    return (options.pretrained.backbone_ref or model_name).removeprefix("unet++-").removeprefix("unet-")


def _models_with(backbone: str) -> tuple[str, ...]:
    return tuple(name for name in MODELS if name == f"unet-{backbone}")


def _loss(options: TrainOptions) -> SegmentationLossOptions:
    """Returns the loss of the options.

    Raises:
      OptionsError: the loss is unknown.
    """
    try:
        terms = parse_loss(options.segmentation.segmentation_loss)
    except ValueError as error:
        raise OptionsError(f"segmentation_loss: {error}", option="segmentation_loss") from None
    given = options.optimizer
    return SegmentationLossOptions(
        terms=terms, ignore_id=IGNORE_ID, label_smoothing=given.label_smoothing, focal_gamma=given.gamma
    )


def augment_config(options: TrainOptions, canvas_size: tuple[int, int]) -> SemanticAugmentConfig:
    """Returns the augmentation of the options; without --augment the image is fitted to the canvas unchanged."""
    given = options.augmentation
    if not given.augment:
        return SemanticAugmentConfig(canvas_size=canvas_size, jitter_min=1.0, jitter_max=1.0, horizontal_flip=0.0)
    return SemanticAugmentConfig(
        canvas_size=canvas_size,
        jitter_min=given.jitter_min,
        jitter_max=given.jitter_max,
        **variation_arguments(options),
    )


@dataclass(kw_only=True)
class SegmentationSetup(ClassSetup):
    """Segmentation with the network and data of one run."""

    network: SegmentationNetwork

    @property
    def class_network(self) -> SegmentationNetwork:
        """Returns the network to train."""
        return self.network

    @property
    def models_with(self) -> ModelsWith:
        """Returns a function from an encoder to the names of the U-Nets with it."""
        return _models_with

    @property
    def layout(self) -> LogLayout:
        """Layout of the logs: a column for each term of the loss, and the metrics over all classes."""
        losses = self.objective().loss_names
        return LogLayout(
            losses=losses,
            metrics=NUMBERS,
            primary=PRIMARY,
            panels=panels(losses, {"mean IoU and Dice": ("mIoU", "Dice"), "boundary F1": ("boundary_F1",)}),
        )

    @property
    def classes(self) -> SemanticClasses:
        """Returns the mapping from values of the records to columns of the network."""
        return SemanticClasses(num_classes=self.network.config.num_classes, has_background=self.network.has_background)

    @property
    def imagenet(self) -> ImageNetConfig:
        """Returns the normalization of the encoder."""
        return imagenet_config(self.network.config.backbone_name)

    def build_model(self) -> keras.Model:
        """Returns the U-Net with random weights."""
        return build_unet(self.network.config)

    def objective(self) -> SegmentationObjective:
        """Returns the loss of the options."""
        return SegmentationObjective(_loss(self.options))

    def training_batches(self, position: int, *, host: HostShare) -> tf.data.Dataset:
        """Yields batches, endless, from sample number `position` on."""
        return training_semantic_batches(
            data_of(self.shards).train,
            augment_config(self.options, self.network.image_size),
            self.classes,
            self.imagenet,
            batch_size=self.options.optimizer.batch_size,
            seed=self.options.seed.tf_random_seed,
            position=position,
            host=host,
        )

    def random_batch(self, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns noise images and maps of class 0."""
        images = np.random.default_rng(0).standard_normal((batch_size, *self.network.image_size, 3), dtype="float32")
        return images, np.zeros((batch_size, *self.network.image_size), np.int32)

    def evaluator(self, model: keras.Model) -> SegmentationScorer | None:
        """Returns the evaluator of a U-Net on whole images."""
        if not self.options.evaluates:
            return None
        limit = self.options.evaluation.eval_samples
        return SegmentationScorer(model, self.network, self.classes, data_of(self.shards).val, limit=limit)

    def format_table(self, metrics: Mapping[str, object]) -> str:
        """Returns the metrics as a table."""
        return format_metrics(metrics)

    def format_line(self, metrics: Mapping[str, object]) -> str:
        """Returns mean IoU and Dice."""
        return ", ".join(f"{name} {metrics[name]:.3f}" for name in (PRIMARY, "Dice"))
