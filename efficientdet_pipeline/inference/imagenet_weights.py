"""EfficientNets with trained weights, for classification and features."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import logging

from efficientdet_pipeline.errors import DataError, OptionsError
from efficientdet_pipeline.inference.classification import (
    ClassScore,
    best_classes,
    image_classifier,
    imagenet_names,
    read_class_names,
)
from efficientdet_pipeline.inference.features import extract_reductions, network_input, trained_statistic
from efficientdet_pipeline.inference.given_images import Readable, one_or_several, pixels_of
from efficientdet_pipeline.models.pretrained import checkpoint_cache, checkpoint_of_run
from efficientdet_pipeline.options.general import RunOptions
from efficientdet_pipeline.options.imagenet import ClassifierOptions, EfficientNetOptions
from efficientdet_pipeline.runs.run_dir import find_run

if TYPE_CHECKING:
    from efficientdet.backbones.efficientnet import EfficientNet

DEFAULT_NETWORK = "efficientnet-lite0"
RANDOM = "none"
_IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class LoadedClassifier:
    """A classifier with its weights, and the names of its classes."""

    best: Callable[[np.ndarray, int], list[ClassScore]]
    """Image (h, w, 3), uint8 RGB, and a number → its best classes."""
    names: tuple[str, ...]
    """Class names by column."""
    weights: str
    """Description of the loaded weights."""


@dataclass(frozen=True)
class LoadedEncoder:
    """An EfficientNet encoder without its head, with its weights."""

    model: "EfficientNet"
    name: str
    weights: str
    """Description of the loaded weights."""


@dataclass(frozen=True, eq=False)
class Features:
    """Features of one image."""

    reductions: Mapping[int, np.ndarray]
    """Level, 1 to 5 → (h, w, c) float32, with 1 / 2^level of the image's resolution, rounded up."""
    looks_trained: bool
    statistic: str
    """Whether the weights look trained or random."""


def classify(options: ClassifierOptions, images: Readable | Iterable[Readable]) -> list[list[ClassScore]]:
    """Returns the best classes of each image, by the classifier that the options name; see `load_classifier`."""
    loaded = load_classifier(options)
    return [loaded.best(pixels_of(image), options.top) for image in one_or_several(images)]


def extract_features(options: EfficientNetOptions, images: Readable | Iterable[Readable]) -> list[Features]:
    """Returns the features of each image at its own size, by the encoder that the options name."""
    encoder = load_encoder(options)
    found = trained_statistic(encoder.model)
    inputs = (network_input(pixels_of(each), encoder.name, advprop=options.advprop) for each in one_or_several(images))
    reductions = (extract_reductions(encoder.model, each) for each in inputs)
    return [Features(each, found.is_trained, str(found)) for each in reductions]


def load_classifier(options: ClassifierOptions) -> LoadedClassifier:
    """Returns the classifier that the options name.

    Raises:
      CheckpointError: the checkpoint does not exist, is damaged, of another network, or without a head.
      DataError: its classes have no names, or the number of names in the file differs.
      FileNotFoundError: the path does not exist.
      OptionsError: the network is unknown.
    """
    from efficientdet.checkpoint.imagenet import load_classifier as load_weights
    from efficientdet.checkpoint.summary import summarize_checkpoint
    from efficientdet.classifier import ClassifierConfig, build_classifier

    if options.network.path_ckpt == RANDOM:
        raise OptionsError(
            "path_ckpt must name trained weights: random weights cannot classify. Received 'none'; leave it out for "
            "the "
            "published weights.",
            option="path_ckpt",
        )
    trained = _trained_here(options)
    if trained is not None:
        return trained
    cache = checkpoint_cache(options.network.cache_dir)
    given = options.network.path_ckpt
    place = checkpoint_of_run(given) if given else network_name(options.network)
    summary = summarize_checkpoint(place, cache)
    if not summary.is_backbone or (summary.networks and summary.num_classes is None):
        what = "a detector" if not summary.is_backbone else "a backbone without its classification head"
        raise DataError(
            f"{summary.path} must be an ImageNet classifier. It is {what}; leave --path_ckpt out for the published "
            "weights, or see --mode=infer for detectors and --mode=features for backbones."
        )
    name = network_name(options.network, summary.networks)
    num_classes = summary.num_classes or _IMAGENET_CLASSES
    if options.labels_map_file:
        names = read_class_names(options.labels_map_file, num_classes)
    elif num_classes == _IMAGENET_CLASSES:
        names = imagenet_names()
    else:
        raise DataError(
            f"{summary.path} is for {num_classes} classes, and only ImageNet's {_IMAGENET_CLASSES} have built-in "
            "names. "
            "Give the names of its classes by --labels_map_file."
        )
    model = build_classifier(ClassifierConfig(backbone_name=name, num_classes=num_classes))
    with _in_terms_of_flags(name):
        report = load_weights(model, place, cache_dir=cache)
    logging.info("%s", report)
    best = image_classifier(model, names, image_size=options.crop_size or None, advprop=options.network.advprop)
    return LoadedClassifier(best, names, str(report))


def _trained_here(options: ClassifierOptions) -> LoadedClassifier | None:
    """Returns the classifier of a run, a checkpoint or an export of ours; None where path_ckpt names another file.

    Raises:
      DataError: it is a segmentation, an export of another program, or its classes are named by a file, too.
    """
    path = Path(options.network.path_ckpt).expanduser()
    if not options.network.path_ckpt or not path.exists():
        return None
    from efficientdet_pipeline.inference.class_predictor import checkpoint_predictor, exported_predictor
    from efficientdet_pipeline.models.class_networks import class_weights_of
    from efficientdet_pipeline.models.classification import ClassificationNetwork
    from efficientdet_pipeline.models.description import is_export
    from efficientdet_pipeline.options.evaluation import CheckpointOptions

    # A description of the network lies beside checkpoints and exports alike.
    if is_export(path):
        predictor = exported_predictor(path)
        if predictor is None:
            raise DataError(
                f"{path} must be a classifier. It is an export of another network; see --mode=infer for detectors."
            )
    else:
        trained = class_weights_of(CheckpointOptions(path_ckpt=str(path)), RunOptions())
        if trained is None:
            return None
        predictor = checkpoint_predictor(trained)
    network = predictor.network
    if not isinstance(network, ClassificationNetwork):
        raise DataError(f"{path} must be a classifier. It is the segmentation {network.name}; see --mode=infer.")
    idle = [name for name in ("labels_map_file", "crop_size") if getattr(options, name)]
    if idle:
        raise OptionsError(
            f"{idle[0]} is for ImageNet's checkpoints. Received it with {path}, whose network has its own; leave it "
            "out.",
            option=idle[0],
        )
    names, chances_of = network.names, predictor.probabilities
    return LoadedClassifier(lambda image, count: best_classes(chances_of(image), names, count), names, str(path))


def load_encoder(options: EfficientNetOptions) -> LoadedEncoder:
    """Returns the encoder that the options name.

    Raises:
      CheckpointError: the checkpoint does not exist, is damaged, or of another network.
      FileNotFoundError: the path does not exist.
      OptionsError: the network is unknown.
    """
    from efficientdet.checkpoint.imagenet import load_encoder as load_weights
    from efficientdet.checkpoint.summary import summarize_checkpoint
    from efficientdet.imagenet import build_encoder

    trained = _encoder_trained_here(options)
    if trained is not None:
        return trained
    cache = checkpoint_cache(options.cache_dir)
    place = checkpoint_of_run(options.path_ckpt) if options.path_ckpt else network_name(options)
    found = () if place == RANDOM else summarize_checkpoint(place, cache).backbones
    name = network_name(options, found)
    model = build_encoder(name)
    model.build((None, None, None, 3))
    with _in_terms_of_flags(name):
        report = "random weights" if place == RANDOM else str(load_weights(model, name, place, cache_dir=cache))
    logging.info("%s: %s", name, report)
    return LoadedEncoder(model, name, report)


def _encoder_trained_here(options: EfficientNetOptions) -> LoadedEncoder | None:
    """Returns the encoder of a segmentation or classification of ours; None where path_ckpt names something else."""
    path = Path(options.path_ckpt).expanduser()
    if not options.path_ckpt or not path.exists():
        return None
    from efficientdet_pipeline.models.class_networks import class_weights_of, load_class_network
    from efficientdet_pipeline.options.evaluation import CheckpointOptions

    trained = class_weights_of(CheckpointOptions(path_ckpt=str(path)), RunOptions())
    if trained is None:
        return None
    model, network = load_class_network(trained)
    name = network.config.backbone_name
    if options.model_name not in ("", name):
        raise OptionsError(
            f"model_name must be the encoder of {path}, {name}. Received {options.model_name}; leave it out.",
            option="model_name",
        )
    logging.info("%s: the encoder of %s, %s", name, network.name, trained.path)
    return LoadedEncoder(model.backbone, name, str(trained.path))


@contextlib.contextmanager
def _in_terms_of_flags(name: str) -> Iterator[None]:
    """Replaces the advice of the library, which is in terms of its arguments."""
    from efficientdet.errors import CheckpointMismatchError

    try:
        yield
    except CheckpointMismatchError as error:
        fitting = " or ".join(f"--model_name={each}" for each in error.likely_backbones)
        way = f"Try {fitting}, or leave --model_name out" if fitting else f"Name a checkpoint of {name} by --path_ckpt"
        raise type(error)(f"{error.finding} {way}.", error.likely_models, error.likely_backbones) from error


def place_of(given: EfficientNetOptions, run: RunOptions) -> EfficientNetOptions:
    """Returns the options with the run that `run` names as path_ckpt, if they name no checkpoint themselves.

    Raises:
      MissingError: the run does not exist.
    """
    if given.path_ckpt or not (run.model_dir or run.run_name or run.model_ckpts):
        return given
    return dataclasses.replace(given, path_ckpt=str(find_run(run).path))


def network_name(options: EfficientNetOptions, found: tuple[str, ...] = ()) -> str:
    """Returns the network that the options name, else that of the checkpoint.

    Raises:
      OptionsError: the network is unknown.
    """
    from efficientdet.imagenet import imagenet_config

    name = options.model_name or next(iter(found), DEFAULT_NETWORK)
    try:
        return imagenet_config(name, advprop=options.advprop).name
    except ValueError as error:
        option = "advprop" if options.advprop and "AdvProp" in str(error) else "model_name"
        raise OptionsError(f"{error} (--{option})", option=option) from None
