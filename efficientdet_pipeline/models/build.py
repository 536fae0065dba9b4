"""Description of the detector of a run or checkpoint."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import efficientdet
import yaml
from absl import logging
from efficientdet.any_detector import AnyDetectorConfig
from efficientdet.config import DetectorConfig
from efficientdet.detectors.config import is_parts

from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.models.class_names import chosen_class_names
from efficientdet_pipeline.models.detector_parts import (
    checked,
    chosen_config,
    described_parts,
    given_config,
    with_classes,
)
from efficientdet_pipeline.options.hparams import HparamsGiven, network_overrides
from efficientdet_pipeline.options.label_map import LabelMapValue, read_label_map
from efficientdet_pipeline.options.model import ModelOptions
from tfrmod import fileio

DEFAULT_MODEL = "efficientdet-d0"
DEFAULT_UNET = "unet-efficientnet-b0"
DEFAULT_CLASSIFIER = "efficientnet-b0"


@dataclass(frozen=True)
class Network:
    """A detector's description, stored beside its weights."""

    config: AnyDetectorConfig
    hparams: dict[str, object]
    """Hyper-parameters that differ from the model's defaults."""
    label_map: dict[int, str]
    trained_names: dict[int, str] = field(default_factory=dict)
    """The label map beside the weights, if --hparams renames the classes."""

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.config.name

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the canvas."""
        return self.config.image_size

    def as_dict(self) -> dict[str, object]:
        """Returns the hyper-parameters of the network."""
        return self.config.to_hparams()

    def write(self, path: Path) -> None:
        """Writes the description as hyper-parameters in the format of --hparams."""
        content = {**self.config.to_hparams(), "label_map": self.label_map}
        fileio.write_file(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def model_name(options: ModelOptions, backbone_ref: str = "") -> str:
    """Returns the network's name: model_name or that of model_config, `backbone_ref`, or the default of the task."""
    if options.model_config:
        return checked(given_config(options), "--model_config").name
    by_task = {"segmentation": DEFAULT_UNET, "classification": DEFAULT_CLASSIFIER}
    return options.model_name or backbone_ref or by_task.get(options.task_name, DEFAULT_MODEL)


def describe_network(name: str, overrides: Mapping[str, object], label_map: Mapping[int, str]) -> Network:
    """Returns the network of a name with overrides; see `named_config`."""
    return Network(named_config(name, overrides), dict(overrides), dict(label_map))


def named_config(name: str, overrides: Mapping[str, object]) -> DetectorConfig:
    """Returns the config of a network of google/automl with overrides.

    Raises:
      OptionsError: the network is unknown, or the overrides contradict each other.
    """
    try:
        return efficientdet.get_config(name, **overrides)
    except ValueError as error:
        raise OptionsError(str(error)) from None


def network_of_options(
    options: ModelOptions,
    hparams: HparamsGiven,
    *,
    backbone_ref: str = "",
    num_classes: int | None = None,
    label_map: Mapping[int, str] | None = None,
) -> Network:
    """Returns the network of model_config, otherwise of the model's name and --hparams.

    Args:
      options: of the mode.
      hparams: values of --hparams.
      backbone_ref: the model where no name is given.
      num_classes: of the data, where neither options nor config say it.
      label_map: class id to name.

    Raises:
      OptionsError: there is no such network.
    """
    if options.model_config:
        config = chosen_config(options, hparams)
        config = config if num_classes is None else with_classes(config, num_classes)
        return Network(checked(config, "--model_config"), {}, dict(label_map or {}))
    of_data = {} if num_classes is None else {"num_classes": num_classes}
    overrides = {**of_data, **network_overrides(options, hparams)}
    return describe_network(model_name(options, backbone_ref), overrides, label_map or {})


# May differ from training: the canvas, and the post-processing of detections.
_FREE = {"image_size", "resize", "nms_configs", "survival_prob", "data_format"}


def read_network(path: Path, options: ModelOptions, hparams: HparamsGiven) -> Network:
    """Returns the network of trained weights, described in the YAML file beside them.

    Options and --hparams take precedence over the file where the weights allow it,
    as for the image size and the class names.

    Raises:
      MissingError: the file does not exist.
      OptionsError: it is not a description, or an option contradicts the training.
    """
    from efficientdet.automl.hparams import HPARAMS, TF2_RECORD_KEYS
    from efficientdet.hparams_yaml import read_hparams_yaml

    try:
        content = read_hparams_yaml(path)
    except FileNotFoundError:
        raise MissingError(
            f"The description of the network {path} does not exist. It is beside every checkpoint of ours as "
            "hparams_config.yaml; name it by --path_yaml."
        ) from None
    except ValueError as error:
        raise OptionsError(f"{error} It describes the network (--path_yaml).", option="path_yaml") from None
    unknown = set() if is_parts(content) else content.keys() - HPARAMS.keys() - TF2_RECORD_KEYS
    if unknown:
        logging.warning("Unknown hyper-parameters are ignored:  %s (%s).", ", ".join(sorted(unknown)), path)
    if is_parts(content):
        parts = described_parts(content, options, hparams, path)
        return _with_names(Network(parts, {}, {}), content.get("label_map"), hparams, path)
    if options.model_config:
        raise OptionsError(
            f"model_config must be that of the trained network. Received {options.model_config!r}, and {path} "
            f"describes {content.get('name', 'a network of google/automl')}; leave it out.",
            option="model_config",
        )
    asked = options.model_name
    described = content.pop("name", asked or DEFAULT_MODEL)
    _refuse_another("model_name", described, asked or described, path)
    trained = {key: value for key, value in content.items() if key in HPARAMS and HPARAMS[key].owner == "network"}
    overrides = network_overrides(options, hparams)
    before = named_config(described, trained)
    network = describe_network(described, {**trained, **overrides}, {})
    if network.config.resize != before.resize:
        logging.warning(
            "The network was trained with --resize=%s, but is used with %s; expect a lower AP.",
            before.resize,
            network.config.resize,
        )
    for key in overrides.keys() & trained.keys() - _FREE:
        _refuse_another(key, getattr(before, key), getattr(network.config, key), path)
    return _with_names(network, content.get("label_map"), hparams, path)


def _with_names(network: Network, label_map: LabelMapValue, hparams: HparamsGiven, path: Path) -> Network:
    """Returns the network with the class names of its description, or those of --hparams."""
    own = read_label_map(label_map, source=str(path)) or {}
    names = chosen_class_names(hparams, own, num_classes=network.config.num_classes, described_by=path)
    return dataclasses.replace(network, label_map=names, trained_names=own)


def _refuse_another(key: str, trained: object, asked: object, path: Path) -> None:
    """Raises OptionsError if an option describes a network other than that of the weights."""
    if asked == trained:
        return
    is_one_more = key == "num_classes" and isinstance(trained, int) and asked == trained + 1
    raise OptionsError(
        f"{key} must be that of the trained network, {trained} ({path}). Received {asked}; leave it out"
        + (" (the background is not a class here)." if is_one_more else "."),
        option=key if key in ("model_name", "num_classes") else "hparams",
    )
