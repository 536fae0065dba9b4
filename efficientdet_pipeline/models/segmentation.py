"""Description of a segmentation network: the U-Net of a run or checkpoint."""

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from efficientdet.unet import GRAPHS, UNetConfig

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.label_map import read_label_map
from efficientdet_pipeline.options.segmentation import SegmentationOptions
from tfrmod import fileio

TASK = "segmentation"
BACKBONES = (
    *(f"efficientnet-b{number}" for number in range(8)),
    *(f"efficientnet-lite{number}" for number in range(5)),
)
MODELS = tuple(f"{graph}-{backbone}" for graph in GRAPHS for backbone in BACKBONES)
IMAGE_SIZE = (256, 256)
"""Default height and width of the canvas."""


@dataclass(frozen=True)
class SegmentationNetwork:
    """A U-Net's description, stored beside its weights."""

    config: UNetConfig
    label_map: dict[int, str]
    """Column of the network → class name; 0 is the background if there is one."""
    image_size: tuple[int, int] = IMAGE_SIZE
    """Height and width of the training canvas; inference accepts images of any size."""
    has_background: bool = True
    """Whether value 0 of the data's maps is column 0; if not, value 1 is, and 0 is ignored."""

    task = TASK
    primary = "mIoU"

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.config.name

    @property
    def names(self) -> tuple[str, ...]:
        """Class names by column."""
        return tuple(str(self.label_map.get(column, column)) for column in range(self.config.num_classes))

    def as_dict(self) -> dict[str, object]:
        """Returns the description as plain data, without the label map."""
        return {
            "task": TASK,
            "name": self.name,
            "image_size": "{1}x{0}".format(*self.image_size),
            "has_background": self.has_background,
            **dataclasses.asdict(self.config),
        }

    def write(self, path: Path) -> None:
        """Writes the description as YAML."""
        content = {**self.as_dict(), "label_map": self.label_map}
        fileio.write_file(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def unet_config(name: str, options: SegmentationOptions, *, num_classes: int) -> UNetConfig:
    """Returns the U-Net with the given name and the decoder of the options.

    Raises:
      OptionsError: the model is unknown.
    """
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=1)
        raise OptionsError(
            f"model_name of a segmentation must be one of {MODELS[0]} … {MODELS[-1]}. Received {name!r}"
            + (f"; did you mean {near[0]}?" if near else "."),
            option="model_name",
        )
    graph, _, backbone = name.partition("-")
    return UNetConfig(
        backbone_name=backbone,
        num_classes=num_classes,
        upsample=options.upsample,
        skip=options.skip,
        concat_input=options.concat_input,
        scse=options.scse,
        hypercolumn=options.hypercolumn,
        graph=graph,
    )


def network_of(content: Mapping[str, object], source: str) -> SegmentationNetwork:
    """Returns the network of a description, as written by `SegmentationNetwork.write`.

    Raises:
      OptionsError: it is not such a description.
    """
    try:
        width, height = (int(side) for side in str(content["image_size"]).split("x"))
        config = UNetConfig.from_fields(content)
    except (KeyError, TypeError, ValueError) as error:
        raise OptionsError(
            f"{source} must describe a U-Net. Received one that cannot be read: {error}.", option="path_yaml"
        ) from error
    names = content.get("label_map") or {}
    if not isinstance(names, dict):
        raise OptionsError(f"label_map of {source} must map ids to names. Received {names!r}.", option="path_yaml")
    own = {0: str(names[0])} if 0 in names else {}
    others = read_label_map({key: value for key, value in names.items() if key != 0}, source=source) or {}
    return SegmentationNetwork(config, {**own, **others}, (height, width), bool(content.get("has_background", True)))
