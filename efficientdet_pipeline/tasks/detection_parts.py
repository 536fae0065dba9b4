"""Detection by a detector built from parts: all is as in detection, but for its losses and initial weights."""

from collections.abc import Mapping
from dataclasses import dataclass

import efficientdet
import keras
from absl import logging
from efficientdet.any_detector import AnyDetectorConfig
from efficientdet.backbones import BACKBONES
from efficientdet.backbones.efficientnet import EfficientNet
from efficientdet.checkpoint.imagenet import load_encoder
from efficientdet.detectors.config import DetectorParts, read_parts
from efficientdet.detectors.objective import PartsObjective
from efficientdet.errors import CheckpointMismatchError

from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.evaluation.coco import METRIC_NAMES
from efficientdet_pipeline.export.formats import formats_of_detector
from efficientdet_pipeline.models.build import Network
from efficientdet_pipeline.models.detector_parts import check_class_names, checked, chosen_config, with_classes
from efficientdet_pipeline.models.pretrained import (
    StartWeights,
    check_pretrained,
    checkpoint_cache,
    chosen_by_chief,
    in_terms_of_options,
    weights_record,
)
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.model import PretrainedOptions
from efficientdet_pipeline.options.schema import replace
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.runs.metadata import advise_on_random_weights
from efficientdet_pipeline.tasks.detection import DetectionSetup, DetectionTask, check_classes
from efficientdet_pipeline.tasks.idle_options import OF_CLASS_NETWORKS, OF_SEGMENTATION, log_idle_options
from efficientdet_pipeline.tasks.task import LogLayout, panels
from tfrmod.urls import redact_url

_WITHOUT_EFFECT = (
    *("class_loss", "alpha", "gamma", "delta", "label_smoothing", "box_loss_weight", "iou_loss_type"),
    "iou_loss_weight",
    *("assigner", "positives_momentum", "class_weights", "backbone_ref"),
)
"""Options of the losses and weights of google/automl's networks."""

_OF_OTHER_LIBRARIES = (".npz", ".safetensors", ".pth", ".pt", ".bin")
"""Suffixes of weights that a backbone takes, and no detector."""


class DetectionPartsTask(DetectionTask):
    """Detection of objects by boxes, with the network of --model_config."""

    name = "detection_parts"
    has_recipe = False

    def image_size(self, name: str, options: TrainOptions, hparams: HparamsGiven) -> tuple[int, int]:
        """Returns height and width of the canvas."""
        del name
        parts = self._parts(options, hparams)
        if options.evaluates:
            formats_of_detector(options.export, parts)
        return parts.image_size

    def check_pretrained(self, options: TrainOptions, model_name: str) -> StartWeights:
        """Chooses, fetches and checks the initial weights."""
        del model_name
        parts = self._parts(options, HparamsGiven())
        _log_without_effect(options, parts)
        given, name = _start_options(options.pretrained, parts)
        start = check_pretrained(given, name, cache_dir=options.data.images.cache_dir, models_with=_no_models)
        if options.pretrained.pretrained_ckpt == "auto" and not start.place and not start.choice:
            return start._replace(choice=_own_start(parts))
        return start

    def chosen_by_chief(self, options: TrainOptions, model_name: str, about: Mapping[str, object]) -> StartWeights:
        """Returns the weights that the chief of several processes chose."""
        del model_name
        given, name = _start_options(options.pretrained, self._parts(options, HparamsGiven()))
        return chosen_by_chief(given, name, about, cache_dir=options.data.images.cache_dir)

    def setup(self, name: str, options: TrainOptions, hparams: HparamsGiven, shards: Shards) -> "DetectionPartsSetup":
        """Returns the setup of a run."""
        config = with_classes(chosen_config(options.model, hparams), shards.num_classes)
        parts = checked({"name": name, **config}, "--model_config")
        network = Network(parts, {}, dict(shards.label_map))
        check_classes(network, shards)
        check_class_names(parts, shards.label_map)
        return _setup(options, network, shards, shards.max_instances)

    def setup_of_description(
        self, description: Mapping[str, object], options: TrainOptions, *, max_instances: int
    ) -> "DetectionPartsSetup":
        """Returns a setup without data."""
        return _setup(options, Network(read_parts(description), {}, {}), None, max_instances)

    def _parts(self, options: TrainOptions, hparams: HparamsGiven) -> DetectorParts:
        return checked(chosen_config(options.model, hparams), "--model_config")


def _setup(options: TrainOptions, network: Network, shards: Shards | None, max_instances: int) -> "DetectionPartsSetup":
    losses = PartsObjective(_parts_of(network.config)).loss_names
    layout = LogLayout(
        losses=losses,
        metrics=METRIC_NAMES,
        primary="AP",
        panels=panels(losses, {"average precision": ("AP", "AP50", "AP75")}),
    )
    return DetectionPartsSetup(
        options=options, network=network, shards=shards, max_instances=max_instances, layout=layout
    )


def _parts_of(config: AnyDetectorConfig) -> DetectorParts:
    if not isinstance(config, DetectorParts):
        raise TypeError(f"The config must be that of a detector built from parts. Received {type(config).__name__}.")
    return config


def _start_options(options: PretrainedOptions, parts: DetectorParts) -> tuple[PretrainedOptions, str]:
    """Returns the options of the initial weights, and the name of the network that they are looked for of.

    Raises:
      OptionsError: an option of another kind of network.
    """
    is_efficientnet = parts.backbone_name in BACKBONES and parts.backbone.backbone_config is None
    for name in ("hub_module_url", *(() if is_efficientnet else ("backbone_ckpt",))):
        if getattr(options, name):
            raise OptionsError(
                f"{name} fits EfficientNets of google/automl. Received {getattr(options, name)!r} with the backbone "
                f"{parts.backbone_name}; give its weights in the config (backbone.weights), or leave it out.",
                option=name,
            )
    if parts.backbone_name not in BACKBONES and options.pretrained_ckpt.endswith(_OF_OTHER_LIBRARIES):
        raise OptionsError(
            "pretrained_ckpt must be a checkpoint of this detector: a run, or its .weights.h5. Received "
            f"{options.pretrained_ckpt!r} with the backbone {parts.backbone_name}; give weights of a backbone in the "
            f"config, for example --model_config=detector.yaml,backbone.weights={options.pretrained_ckpt}.",
            option="pretrained_ckpt",
        )
    if options.pretrained_ckpt == "auto" and not is_efficientnet:
        return replace(options, pretrained_ckpt="none", backbone_ref=""), parts.name
    return replace(options, backbone_ref=""), parts.backbone_name


def _no_models(backbone: str) -> tuple[str, ...]:
    """Returns no name: a detector built from parts has no --model_name."""
    del backbone
    return ()


def _own_start(parts: DetectorParts) -> str:
    weights = getattr(parts.backbone, "weights", None)
    if weights:
        return f"The backbone {parts.backbone_name} starts from {weights} (backbone.weights of the config)."
    return (
        f"No weights are known for the backbone {parts.backbone_name}: it starts from random ones. Give "
        "backbone.weights in the config, or a checkpoint of the same network by --pretrained_ckpt."
    )


def _log_without_effect(options: TrainOptions, parts: DetectorParts) -> None:
    idle = (*_WITHOUT_EFFECT, *OF_SEGMENTATION, *OF_CLASS_NETWORKS)
    log_idle_options(options, "a detector built from parts, whose head has its losses", idle)
    if "weight_decay" in parts.source and parts.weight_decay != options.optimizer.weight_decay:
        logging.warning(
            "weight_decay=%g of the model's config has no effect in a run, which has --weight_decay=%g.",
            parts.weight_decay,
            options.optimizer.weight_decay,
        )


@dataclass(kw_only=True)
class DetectionPartsSetup(DetectionSetup):
    """Detection with a network of parts and the data of one run."""

    def load_pretrained(self, model: keras.Model, start: StartWeights) -> dict[str, object]:
        """Loads the initial weights: those of this network, else of its backbone."""
        parts, options = _parts_of(self.network.config), self.options
        if not start.place:
            if not getattr(parts.backbone, "weights", None):
                num_images = options.num_examples_per_epoch or self._data.num_train
                advise_on_random_weights(
                    options, options.optimizer.num_epochs * (num_images // options.optimizer.batch_size)
                )
            logging.info("%s", start.choice or "Starting from random weights (--pretrained_ckpt=none).")
            return {"pretrained": None, **({"initial_weights": start.choice} if start.choice else {})}
        cache = checkpoint_cache(options.data.images.cache_dir)
        exclude = options.pretrained.var_exclude_expr or None
        is_efficientnet = isinstance(model.backbone, EfficientNet)
        with in_terms_of_options(options.pretrained, start.option, _no_models, can_exclude=not is_efficientnet):
            try:
                if start.is_backbone and is_efficientnet:
                    report = load_encoder(model.backbone, parts.backbone_name, start.place, cache_dir=cache)
                else:
                    report = efficientdet.load_checkpoint(model, start.place, exclude=exclude, cache_dir=cache)
            except CheckpointMismatchError:
                if not is_efficientnet or start.is_backbone:
                    raise
                report = load_encoder(model.backbone, parts.backbone_name, start.place, cache_dir=cache)
        logging.info("%s", report)
        reason = {"choice": start.choice} if start.choice else {}
        return {
            "pretrained": {"option": start.option, "place": redact_url(start.place), **reason, **weights_record(report)}
        }
