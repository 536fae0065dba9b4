"""A classification network and its description: the EfficientNet of a run or checkpoint."""

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from efficientdet.classifier import ClassifierConfig

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.models.segmentation import BACKBONES
from tfrmod import fileio

TASK = "classification"


@dataclass(frozen=True)
class ClassificationNetwork:
    """A classifier's description as it lies beside its weights."""

    config: ClassifierConfig
    label_map: dict[int, str]
    """Column of the network, from 0 → class name."""
    image_size: tuple[int, int]
    """Height and width of the square that is cut from the middle of an image, in pixels of the network's input."""
    trained_names: dict[int, str] = field(default_factory=dict)
    """Column → name of the class in the training data, where --label_map named it otherwise."""

    task = TASK
    primary = "accuracy"

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.config.name

    @property
    def side(self) -> int:
        """Height and width of the input."""
        return self.image_size[0]

    @property
    def names(self) -> tuple[str, ...]:
        """Class names by column."""
        return tuple(str(self.label_map.get(column, column)) for column in range(self.config.num_classes))

    def as_dict(self) -> dict[str, object]:
        """Returns the description as plain data, without the label map."""
        return {"task": TASK, "name": self.name, "image_size": self.side, **dataclasses.asdict(self.config)}

    def write(self, path: Path) -> None:
        """Writes the description as YAML."""
        renamed = {"trained_names": self.trained_names} if self.trained_names else {}
        content = {**self.as_dict(), "label_map": self.label_map, **renamed}
        fileio.write_file(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def check_classifier_name(name: str) -> str:
    """Returns the name of a classifier.

    Raises:
      OptionsError: there is no such model.
    """
    if name in BACKBONES:
        return name
    near = difflib.get_close_matches(name, BACKBONES, n=1)
    raise OptionsError(
        f"model_name of a classification must be one of {BACKBONES[0]} … {BACKBONES[-1]}. Received {name!r}"
        + (f"; did you mean {near[0]}?" if near else "."),
        option="model_name",
    )


def classification_network_of(content: Mapping[str, object], source: str) -> ClassificationNetwork:
    """Returns the network of a description, as `ClassificationNetwork.as_dict` gives it and `write` writes it.

    Raises:
      OptionsError: it is none.
    """
    try:
        side = int(str(content["image_size"]))
        config = ClassifierConfig.from_fields(content)
        label_map, trained_names = _names(content, "label_map"), _names(content, "trained_names")
    except (KeyError, TypeError, ValueError) as error:
        raise OptionsError(
            f"{source} must describe a classifier. Received one that cannot be read: {error}.", option="path_yaml"
        ) from error
    return ClassificationNetwork(config, label_map, (side, side), trained_names)


def _names(content: Mapping[str, object], key: str) -> dict[int, str]:
    names = content.get(key) or {}
    if not isinstance(names, dict):
        raise TypeError(f"its {key} is {names!r}")
    return {int(column): str(name) for column, name in names.items()}
