"""Detection with both heads of google/automl: boxes of objects, and the class of each pixel in the same network."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from absl import logging
from efficientdet.box_map_training import LOSS_NAME, BoxMapObjective
from efficientdet.config import DetectorConfig
from efficientdet.segmentation_losses import SegmentationLossOptions
from efficientdet.segmentation_training import SegmentationObjective
from efficientdet.training_model import Objective
from efficientdet.types import TensorTree

from efficientdet_pipeline.augment.semantic_map import IGNORE_ID
from efficientdet_pipeline.data.box_map_batches import MAX_CLASSES, BoxMapTruth, has_masks, training_box_map_batches
from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.data.input_pipeline import open_input_config
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.evaluation.coco import METRIC_NAMES
from efficientdet_pipeline.evaluation.map_scorer import NUMBERS, MapScorer
from efficientdet_pipeline.evaluation.metrics import Metrics
from efficientdet_pipeline.export.formats import formats_of_detector
from efficientdet_pipeline.json_fields import number_field
from efficientdet_pipeline.models.build import Network, describe_network
from efficientdet_pipeline.options.hparams import HparamsGiven, network_overrides
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.tasks.detection import LOSSES, DetectionEvaluator, DetectionSetup, DetectionTask
from efficientdet_pipeline.tasks.idle_options import OF_CLASS_NETWORKS, OF_SEGMENTATION, log_idle_options
from efficientdet_pipeline.tasks.segmentation import augment_config
from efficientdet_pipeline.tasks.task import LogLayout, TrainingInput, panels

SEGMENTATION = "segmentation"
LAYOUT = LogLayout(
    losses=(*LOSSES, LOSS_NAME),
    metrics=(*METRIC_NAMES, *NUMBERS),
    primary="AP",
    panels=panels((*LOSSES, LOSS_NAME), {"average precision": ("AP", "AP50", "AP75"), "mean IoU": NUMBERS}),
)
_IDLE = (
    *("augment_steps", "autoaugment_policy", "grid_mask", "mosaic", "mixup", "copy_paste", "close_mosaic"),
    *("cache", "val_loss", *OF_SEGMENTATION, *OF_CLASS_NETWORKS),
)
"""Options without effect: the maps do not follow them."""


class DetectionWithMapTask(DetectionTask):
    """Detection; with `heads=[object_detection,segmentation]` in --hparams, of a network with both heads."""

    def image_size(self, name: str, options: TrainOptions, hparams: HparamsGiven) -> tuple[int, int]:
        """Returns height and width of a model's canvas.

        Raises:
          OptionsError: with the head of the maps, if masks are not asked for, or an option does not fit.
        """
        config = describe_network(name, network_overrides(options.model, hparams), {}).config
        if isinstance(config, DetectorConfig) and SEGMENTATION in config.heads:
            _check(config, options)
        return config.image_size

    def setup(self, name: str, options: TrainOptions, hparams: HparamsGiven, shards: Shards) -> DetectionSetup:
        """Returns the setup of a run."""
        given = network_overrides(options.model, hparams)
        if SEGMENTATION not in describe_network(name, given, {}).config.heads:
            return super().setup(name, options, hparams, shards)
        overrides = {"num_classes": shards.num_classes, "seg_num_classes": shards.num_classes + 1, **given}
        network = describe_network(name, overrides, shards.label_map)
        _check_data(network, shards)
        log_idle_options(options, "a detector with the head segmentation", _IDLE)
        return DetectionWithMapSetup(
            options=options, network=network, shards=shards, max_instances=shards.max_instances
        )

    def setup_of_description(
        self, description: Mapping[str, object], options: TrainOptions, *, max_instances: int
    ) -> DetectionSetup:
        """Returns a setup without data."""
        plain = super().setup_of_description(description, options, max_instances=max_instances)
        if SEGMENTATION not in plain.network.config.heads:
            return plain
        return DetectionWithMapSetup(options=options, network=plain.network, shards=None, max_instances=max_instances)


def _check(config: DetectorConfig, options: TrainOptions) -> None:
    if "object_detection" not in config.heads:
        raise OptionsError(
            "heads must contain object_detection. Received segmentation alone (--hparams); use "
            "heads=[object_detection,segmentation], or --task=segmentation for maps without boxes.",
            option="hparams",
        )
    if not options.data.conversion.include_masks and not options.train_file_pattern:
        raise OptionsError(
            "heads=[object_detection,segmentation] is trained with the masks of the objects. Received --hparams "
            "without --include_masks; add it.",
            option="include_masks",
        )
    if config.resize == "stretch":
        raise OptionsError(
            "resize must be letterbox with the head segmentation. Received stretch; leave --resize out.",
            option="resize",
        )
    if options.optimizer.positives_momentum:
        raise OptionsError(
            "positives_momentum has no meaning with the head segmentation, whose loss is a mean over pixels. Received "
            f"{options.optimizer.positives_momentum}; leave it out.",
            option="positives_momentum",
        )
    if options.compression.asked_for:
        raise OptionsError(
            f"{next(iter(options.compression.asked_for))} fits detectors without the head segmentation. Received it "
            "with heads=[object_detection,segmentation] (--hparams); leave one of them out.",
            option=next(iter(options.compression.asked_for)),
        )
    if options.evaluates:
        formats_of_detector(options.export, config)


def _check_data(network: Network, shards: Shards) -> None:
    config = _with_map(network)
    needed = shards.num_classes + 1
    for name, given, least in (
        ("num_classes", config.num_classes, shards.num_classes),
        ("seg_num_classes", config.seg_num_classes, needed),
    ):
        if given < least:
            raise OptionsError(
                f"{name} must be at least {least}: the data have label ids up to {shards.num_classes}"
                + (", and id 0 of a map is the background" if name == "seg_num_classes" else "")
                + f". Received {given}; leave it out to take it from the data.",
                option="hparams" if name == "seg_num_classes" else "num_classes",
            )
    if config.seg_num_classes > MAX_CLASSES + 1:
        raise OptionsError(
            f"A map has at most {MAX_CLASSES} classes beside the background. Received {config.seg_num_classes - 1}; "
            "leave the head segmentation out (--hparams).",
            option="hparams",
        )
    if not has_masks(shards.train):
        raise OptionsError(
            "The head segmentation needs masks of the objects, and the shards have none. Convert a set that has masks "
            "(COCO polygons, Pascal VOC with SegmentationObject, mask images) with --include_masks, or leave "
            "segmentation out of heads (--hparams).",
            option="hparams",
        )


def _with_map(network: Network) -> DetectorConfig:
    config = network.config
    if not isinstance(config, DetectorConfig):
        raise TypeError(f"The network must be one of google/automl's. Received {type(config).__name__}.")
    return config


@dataclass(kw_only=True)
class DetectionWithMapSetup(DetectionSetup):
    """Detection with both heads, with the network and data of one run."""

    layout: LogLayout = LAYOUT

    @property
    def config(self) -> DetectorConfig:
        """Returns the config of the network."""
        return _with_map(self.network)

    def objective(self) -> Objective:
        """Returns the losses of the boxes as in detection, and the cross-entropy of the pixels."""
        maps = SegmentationObjective(SegmentationLossOptions(ignore_id=IGNORE_ID))
        return BoxMapObjective(self.config, super().objective(), maps)

    @contextlib.contextmanager
    def open_input(
        self, *, num_epochs: int, steps_per_epoch: int, cache: Path, host: tuple[int, int]
    ) -> Iterator[TrainingInput]:
        """Opens the training batches: flipped, jittered in scale and color."""
        del num_epochs, steps_per_epoch
        config, min_visibility = self.config, self.options.augmentation.min_visibility
        upright = dataclasses.replace(augment_config(self.options, config.image_size), vertical_flip=0.0, rotation=0.0)
        with open_input_config(self.options, self._data, config.image_size, cache) as whole:
            stream = dataclasses.replace(whole, host_index=host[0], num_hosts=host[1])
            yield TrainingInput(
                lambda position: training_box_map_batches(
                    stream, upright, config, min_visibility=min_visibility, position=position
                ),
                files=whole.files,
            )

    def random_batch(self, batch_size: int) -> tuple[np.ndarray, TensorTree]:
        """Returns noise images with the maximum number of boxes, and maps of class 0."""
        images, (boxes, class_ids) = super().random_batch(batch_size)
        return images, BoxMapTruth(boxes, class_ids, np.zeros((batch_size, *self.network.image_size), np.int32))

    def evaluator(self, model: keras.Model) -> DetectionEvaluator | None:
        """Returns the evaluator of boxes and maps; of boxes alone if the validation images have no masks."""
        plain = super().evaluator(model)
        if plain is None or self._truth is None:
            return None
        files = self._truth.files
        if not has_masks(files):
            logging.warning("The validation images have no masks: the maps are not evaluated.")
            return plain
        maps = MapScorer(model, self.config, files, numbers=self._truth.numbers, class_ids=self._truth.class_ids)
        return BoxMapEvaluator(plain, maps)

    def format_table(self, metrics: Mapping[str, object]) -> str:
        """Returns COCO's metrics as a table, and those of the maps."""
        return "\n".join([super().format_table(metrics), "", _of_maps(metrics, NUMBERS)])

    def format_line(self, metrics: Mapping[str, object]) -> str:
        """Returns AP, AP50 and mean IoU."""
        return f"{super().format_line(metrics)}, {_of_maps(metrics, NUMBERS[:1])}"


def _of_maps(metrics: Mapping[str, object], names: Sequence[str]) -> str:
    found = {name: number_field(metrics, name) for name in names if name in metrics}
    return ", ".join(f"{name} {value:.3f}" for name, value in found.items()) or "maps not evaluated"


class BoxMapEvaluator(DetectionEvaluator):
    """Average precision of the boxes and mean IoU of the maps."""

    def __init__(self, boxes: DetectionEvaluator, maps: MapScorer) -> None:
        super().__init__(boxes.evaluator, boxes.network)
        self._maps = maps

    def __call__(self, epoch: int | None = None) -> Metrics:
        """Returns the metrics of both heads; AP is the primary one."""
        found = super().__call__(epoch)
        return dataclasses.replace(found, values={**found.values, **self._maps()})
