"""Detection task: boxes and classes of objects, evaluated by COCO's average precision."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import efficientdet
import keras
import numpy as np
import tensorflow as tf
from absl import logging
from efficientdet.config import DetectorConfig
from efficientdet.preprocess import fit_to_canvas
from efficientdet.training_model import Objective
from efficientdet.types import GroundTruth as BatchTruth

from efficientdet_pipeline.data import input_pipeline
from efficientdet_pipeline.data.batch_images import first_images, images_of_step
from efficientdet_pipeline.data.class_weights import class_weights
from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.data.input_pipeline import build_augmenter, training_batches
from efficientdet_pipeline.data.sampler import all_records
from efficientdet_pipeline.data.tfrecord_reader import boxes_in_pixels, decode_record_image, parse_record
from efficientdet_pipeline.data.validation_batches import validation_batches
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.evaluation import format_line, format_table
from efficientdet_pipeline.evaluation.coco import METRIC_NAMES
from efficientdet_pipeline.evaluation.evaluation_file import SavedEvaluation, saved_evaluation
from efficientdet_pipeline.evaluation.evaluator import Evaluator
from efficientdet_pipeline.evaluation.ground_truth import GroundTruth, validation_truth
from efficientdet_pipeline.evaluation.metrics import Metrics
from efficientdet_pipeline.export import in_subprocess
from efficientdet_pipeline.inference.results import per_image
from efficientdet_pipeline.json_fields import number_field
from efficientdet_pipeline.models.build import Network, describe_network
from efficientdet_pipeline.models.objective import detection_objective
from efficientdet_pipeline.models.pretrained import StartWeights, check_pretrained, chosen_by_chief, load_pretrained
from efficientdet_pipeline.models.pretrained_network import warn_of_other_network
from efficientdet_pipeline.models.weights import TrainedWeights
from efficientdet_pipeline.options.hparams import HparamsGiven, network_overrides
from efficientdet_pipeline.options.infer import MIN_SCORE
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.runs.metadata import advise_on_random_weights
from efficientdet_pipeline.tasks.idle_options import (
    OF_CLASS_NETWORKS,
    OF_SEGMENTATION,
    log_frozen_random_weights,
    log_idle_options,
)
from efficientdet_pipeline.tasks.task import LogLayout, TrainingInput, panels
from efficientdet_pipeline.visualize.grid import draw_comparison

LOSSES = ("class_loss", "box_loss", "box_iou_loss")
LAYOUT = LogLayout(
    losses=LOSSES,
    metrics=METRIC_NAMES,
    primary="AP",
    panels=panels(LOSSES, {"average precision": ("AP", "AP50", "AP75")}),
)


class DetectionTask:
    """Object detection."""

    name = "detection"
    has_recipe = True

    def image_size(self, name: str, options: TrainOptions, hparams: HparamsGiven) -> tuple[int, int]:
        """Returns height and width of a model's canvas."""
        return describe_network(name, network_overrides(options.model, hparams), {}).image_size

    def check_pretrained(self, options: TrainOptions, model_name: str) -> StartWeights:
        """Chooses, downloads and checks the initial weights."""
        return check_pretrained(
            options.pretrained,
            model_name,
            cache_dir=options.data.images.cache_dir,
            is_published_model=not options.model.hparams,
        )

    def chosen_by_chief(self, options: TrainOptions, model_name: str, about: Mapping[str, object]) -> StartWeights:
        """Returns the weights that the chief of several processes chose."""
        return chosen_by_chief(options.pretrained, model_name, about, cache_dir=options.data.images.cache_dir)

    def setup(self, name: str, options: TrainOptions, hparams: HparamsGiven, shards: Shards) -> "DetectionSetup":
        """Returns the setup of a run."""
        log_idle_options(options, self.name, (*OF_SEGMENTATION, *OF_CLASS_NETWORKS))
        overrides = {"num_classes": shards.num_classes, **network_overrides(options.model, hparams)}
        network = describe_network(name, overrides, shards.label_map)
        check_classes(network, shards)
        return DetectionSetup(options=options, network=network, shards=shards, max_instances=shards.max_instances)

    def setup_of_description(
        self, description: Mapping[str, object], options: TrainOptions, *, max_instances: int
    ) -> "DetectionSetup":
        """Returns a setup without data."""
        network = Network(DetectorConfig.from_fields(description), {}, {})
        return DetectionSetup(options=options, network=network, shards=None, max_instances=max_instances)


def check_classes(network: Network, shards: Shards) -> None:
    """Checks that a network has an output for every class of the data.

    Raises:
      OptionsError: it has fewer classes, or heads that the data cannot train.
    """
    if list(network.config.heads) != ["object_detection"]:
        raise OptionsError(
            "heads must be object_detection only: the shards have no masks to train another head. "
            f"Received {', '.join(network.config.heads)} (--hparams); leave heads out.",
            option="hparams",
        )
    given = network.config.num_classes
    if given < shards.num_classes:
        raise OptionsError(
            f"num_classes must be at least the largest label id of the data, {shards.num_classes}. Received {given}; "
            "leave it out to take it from the data.",
            option="num_classes",
        )
    if given == shards.num_classes + 1:
        logging.warning(
            "num_classes is %d and the largest label id %d. Background is not a class here; class %d will have no "
            "examples.",
            given,
            shards.num_classes,
            given,
        )


@dataclass(kw_only=True)
class DetectionSetup:
    """Detection with the network and data of one run."""

    options: TrainOptions
    network: Network
    shards: Shards | None
    """None if only random batches are used."""
    max_instances: int
    layout: LogLayout = LAYOUT
    _truth: GroundTruth | None = None

    def with_options(self, options: TrainOptions) -> "DetectionSetup":
        """Returns the same setup with other options."""
        return dataclasses.replace(self, options=options)

    def build_model(self) -> keras.Model:
        """Returns the detector with random weights."""
        return efficientdet.build_model(self.network.config)

    def load_pretrained(self, model: keras.Model, start: StartWeights) -> dict[str, object]:
        """Loads the initial weights."""
        options = self.options
        if not start.place:
            num_images = options.num_examples_per_epoch or self._data.num_train
            num_steps = options.optimizer.num_epochs * (num_images // options.optimizer.batch_size)
            advise_on_random_weights(options, num_steps)
            log_frozen_random_weights(options)
        about = load_pretrained(model, options.pretrained, start, cache_dir=options.data.images.cache_dir)
        if start.place and not start.is_backbone and not options.pretrained.var_exclude_expr:
            warn_of_other_network(self.network, start.place)
        return about

    def load_weights(self, model: keras.Model, path: Path) -> None:
        """Loads the weights of a checkpoint of this run."""
        efficientdet.load_checkpoint(model, path, skip_mismatch=False)

    def objective(self) -> Objective:
        """Returns the losses of the options, with their class weights."""
        given, config = self.options.optimizer, self.network.config
        weights = () if self.shards is None else class_weights(given.class_weights, self.shards, config.num_classes)
        return detection_objective(config, given, class_weights=weights)

    @contextlib.contextmanager
    def open_input(
        self, *, num_epochs: int, steps_per_epoch: int, cache: Path, host: tuple[int, int]
    ) -> Iterator[TrainingInput]:
        """Opens the training batches, augmented according to the options."""
        options, config = self.options, self.network.config
        mosaic_end = input_pipeline.close_mosaic_step(
            options.augmentation,
            num_epochs=num_epochs,
            samples_per_epoch=steps_per_epoch * options.optimizer.batch_size,
        )
        augmenter = build_augmenter(options.augmentation, config, mixing_ends=mosaic_end)
        with input_pipeline.open_input_config(options, self._data, config.image_size, cache) as whole:
            stream = dataclasses.replace(whole, host_index=host[0], num_hosts=host[1])
            yield TrainingInput(
                lambda position: training_batches(stream, augmenter, position=position),
                files=whole.files,
                images_of=partial(images_of_step, whole, augmenter.num_partners),
                first_images=partial(first_images, whole, augmenter),
                validation=self._validation_batches if self._truth is not None else None,
            )

    def _validation_batches(self) -> tf.data.Dataset:
        truth = self._truth or GroundTruth(files=())
        return validation_batches(
            truth.files,
            self.network.config,
            batch_size=self.options.optimizer.batch_size,
            class_ids=truth.class_ids,
            numbers=truth.numbers,
        )

    def random_batch(self, batch_size: int) -> tuple[np.ndarray, BatchTruth]:
        """Returns noise images with the maximum number of boxes, all identical."""
        shape = (batch_size, *self.network.image_size, 3)
        images = np.random.default_rng(0).standard_normal(shape, dtype="float32")
        boxes = np.tile(np.array([0.0, 0.0, 32.0, 32.0], "float32"), (batch_size, self.max_instances, 1))
        return images, BatchTruth(boxes, np.ones((batch_size, self.max_instances), "int32"))

    def prepare_evaluation(self, *, is_chief: bool) -> None:
        """Reads the ground truth of the validation images."""
        self._truth = validation_truth(self.options, self.network, self._data, is_chief=is_chief)

    def evaluator(self, model: keras.Model) -> "DetectionEvaluator | None":
        """Returns the evaluator of a detector."""
        if self._truth is None:
            return None
        evaluator = Evaluator(
            model,
            self.network.config,
            self._truth,
            label_map=self.network.label_map,
            batch_size=self.options.optimizer.batch_size,
        )
        return DetectionEvaluator(evaluator, self.network)

    def format_table(self, metrics: Mapping[str, object]) -> str:
        """Returns COCO's metrics as a table."""
        return format_table(metrics)

    def format_line(self, metrics: Mapping[str, object]) -> str:
        """Returns AP and AP50."""
        return format_line(metrics)

    def export(self, model: keras.Model, trained: TrainedWeights, folder: Path) -> Mapping[str, Path]:
        """Writes the formats of the options."""
        return in_subprocess.export_in_subprocess(model, self.network, trained, folder, self.options.export).artifacts

    @property
    def _data(self) -> Shards:
        if self.shards is None:
            raise ValueError("A setup of a description has no data. Received a call that needs shards; use `setup`.")
        return self.shards


class DetectionEvaluator:
    """Average precision on the validation images, and drawings of them."""

    def __init__(self, evaluator: Evaluator, network: Network) -> None:
        self.evaluator, self.network = evaluator, network

    def __call__(self, epoch: int | None = None) -> Metrics:
        """Returns the COCO metrics of the detector with its current weights; detections of the best epoch are kept."""
        metrics = dataclasses.replace(Metrics.from_dict(self.evaluator()), interval=self.evaluator.interval())
        if epoch is not None:
            self.evaluator.kept.keep(epoch, metrics.primary_value)
        return metrics

    def draw(self, count: int) -> list[np.ndarray]:
        """Returns the first validation images, each with ground truth beside the model's detections."""
        return draw_predictions(self.evaluator, self.network, count=count)

    def saved(self, facts: Mapping[str, str | float]) -> SavedEvaluation:
        """Returns detections and ground truth of an epoch; runs inference again if they were not kept."""
        evaluator = self.evaluator
        return saved_evaluation(
            evaluator.kept.of_epoch(number_field(facts, "epoch")) or evaluator.collect(),
            evaluator.label_map,
            shards=evaluator.files,
            numbers=evaluator.truth.numbers,
            facts=facts,
        )


def draw_predictions(evaluator: Evaluator, network: Network, *, count: int) -> list[np.ndarray]:
    """Returns the first evaluated images, each with ground truth beside the detections, uint8 RGB."""
    drawn = []
    for serialized in all_records(evaluator.files).take(count):
        record = parse_record(serialized)
        source = decode_record_image(record.encoded, record.file_name)
        image, scale = fit_to_canvas(source, network.config)
        found = per_image(evaluator.detect(image[None], scale[None], np.array([source.shape[:2]], np.int32)))[0]
        ids = [evaluator.truth.class_ids.get(int(class_id), int(class_id)) for class_id in record.class_ids.numpy()]
        truth = (boxes_in_pixels(record, source).numpy(), np.array(ids, np.int32))
        drawn.append(
            draw_comparison(np.asarray(source), truth, found, label_map=network.label_map, min_score=MIN_SCORE)
        )
    return drawn
