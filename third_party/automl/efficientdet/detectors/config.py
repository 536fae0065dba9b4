"""Configuration of a detector built from parts: tables of names, and checks across parts."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from efficientdet.automl.hparams import unknown_name
from efficientdet.backbones import BACKBONES as EFFICIENTNETS
from efficientdet.config import RESIZES
from efficientdet.detectors.part_reader import fitted, read_fields
from efficientdet.necks.fpn_designs import DESIGNS

if TYPE_CHECKING:
    from efficientdet.heads.head_interface import Candidates, Outputs

Size = tuple[int, int]
Parts = ("backbone", "neck", "head")

HEADS: dict[str, str] = {
    "anchorhead": "anchor_head.AnchorHeadPart",
    "anchor_free": "anchor_free_head.AnchorFreePart",
    "yolor": "yolor_head.YolorPart",
    "yolov8": "yolov8_head.Yolov8Part",
}
"""Lower-case name → module of `heads` and its dataclass."""

KEYS = (*Parts, "name", "image_size", "resize", "weight_decay", "class_names")
"""Keys of a detector's config; name and class_names are informative, and the latter must match num_classes."""

_OF_A_RUN = {"clip_gradients_norm": "the optimizer (clipnorm)", "class_cfg": "class_names"}


@dataclass(frozen=True, kw_only=True)
class DetectorParts:
    """Parsed and checked config of a detector.

    It has the attributes of a `DetectorConfig` for canvas and outputs, so that
    preprocessing, evaluation and export accept either.
    """

    backbone: Any
    neck: Any
    head: Any
    image_size: Size
    name: str
    """Name in files and reports."""
    backbone_name: str
    resize: str = "letterbox"
    """How an image is resized to the canvas, see `config.RESIZES`."""
    weight_decay: float = 4e-5
    """Weight of the L2 penalty: half of it times the sum of squares of all kernels is added to the loss."""
    class_names: tuple[str, ...] = ()
    source: dict[str, Any] = field(default_factory=dict, repr=False)
    """The original config."""

    heads = ("object_detection",)
    scale_range = False

    @property
    def num_classes(self) -> int:
        """Number of classes of the head."""
        return int(self.head.num_classes)

    @property
    def mean_rgb(self) -> tuple[float, ...]:
        """Subtracted from RGB pixels, 0 to 255."""
        return tuple(self.backbone.normalization[0])

    @property
    def stddev_rgb(self) -> tuple[float, ...]:
        """Divisor after the subtraction of the mean."""
        return tuple(self.backbone.normalization[1])

    @property
    def has_own_suppression(self) -> bool:
        """Whether the config has NMS settings, in `head.test_cfg`."""
        return bool(self.head.test_cfg)

    @property
    def nms_configs(self) -> dict[str, Any]:
        """NMS settings: automl's keys, and `mode`."""
        return dict(self.head.nms_configs)

    @cached_property
    def levels(self) -> range:
        """Levels of the pyramid.

        Raises:
          ValueError: backbone, neck and head do not match.
        """
        strides = self.head.strides
        lowest = level_of_stride(strides[0]) if strides else None
        levels: range = self.neck.levels(list(self.backbone.levels), lowest)
        given = [2**level for level in levels]
        if strides and list(strides) != given:
            raise ValueError(
                f"The neck gives levels {as_sequence(levels)}, with strides {given}, and the head reads strides "
                f"{list(strides)}; set neck.num_nb_outs and neck.start_level (or min_level and max_level), or the "
                "head's strides."
            )
        return levels

    def decode(self, outputs: "Outputs") -> "Candidates":
        """Returns the boxes (canvas pixels) and class scores (0 to 1) of all priors, from the head's raw outputs."""
        candidates: Candidates = self.head.build(self.levels).decode(outputs, self.image_size)
        return candidates

    def to_hparams(self) -> dict[str, Any]:
        """Returns the config as plain values that YAML, JSON and `read_parts` accept."""
        return {"name": self.name, **plain(self.source)}


def read_parts(config: Mapping[str, Any]) -> DetectorParts:
    """Returns the parts of a config.

    Args:
      config: see `build.build_detector`; it is not modified.

    Raises:
      ValueError: an unknown name or key, an invalid value, or parts that do not match.
    """
    for key in config:
        if key in _OF_A_RUN:
            raise ValueError(f"{key} is not part of a network; give it to {_OF_A_RUN[key]}.")
        if key not in KEYS:
            raise ValueError(unknown_name("key of the detector's config", key, KEYS))
    for key in Parts:
        if key not in config:
            raise ValueError(f"A detector's config must have backbone, neck and head. It has no {key}.")
    backbone, head = read_backbone(config["backbone"]), _read_head(config["head"])
    neck = read_neck(config["neck"])
    if backbone.without_effect:
        warnings.warn(
            f"backbone.{', '.join(backbone.without_effect)} concern the classifier and have no effect in a detector.",
            UserWarning,
            stacklevel=3,
        )
    names = config.get("class_names", ())
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"class_names must be a list of strings. Received {names!r}.")
    if names and len(names) != head.num_classes:
        raise ValueError(f"class_names must have head.num_classes={head.num_classes} entries. Received {len(names)}.")
    twice = sorted({str(name) for name in names if list(names).count(name) > 1})
    if twice:
        raise ValueError(f"class_names must differ. Received {', '.join(twice)} more than once.")
    decay = config.get("weight_decay", 4e-5)
    if isinstance(decay, bool) or not isinstance(decay, (int, float)) or decay < 0:
        raise ValueError(f"weight_decay must be a number of at least 0. Received {decay!r}.")
    resize = config.get("resize", "letterbox")
    if resize not in RESIZES:
        raise ValueError(unknown_name("resize", resize, RESIZES))
    image_size = _image_size(config, backbone)
    parts = DetectorParts(
        backbone=replace(backbone, input_size=image_size),
        neck=neck,
        head=head,
        image_size=image_size,
        name=_name(config),
        backbone_name=_name_and_rest("backbone", config["backbone"])[0],
        resize=resize,
        weight_decay=float(decay),
        class_names=tuple(names),
        source=plain(config),
    )
    _ = parts.levels
    return parts


def is_parts(content: Mapping[str, Any]) -> bool:
    """Returns whether a config of a network is that of a detector built from parts."""
    return set(Parts) <= content.keys()


def with_values(
    config: Mapping[str, Any], *, image_size: Size | None = None, num_classes: int | None = None, resize: str = ""
) -> dict[str, Any]:
    """Returns a config with some values replaced; None and empty values are ignored."""
    changed = plain(config)
    for key in ("backbone", "head"):
        changed[key] = {"name": changed[key]} if isinstance(changed[key], str) else changed[key]
    if image_size is not None:
        changed["image_size"] = list(image_size)
        changed["backbone"].pop("input_size", None)
    if num_classes is not None:
        changed["head"]["num_classes"] = num_classes
    if resize:
        changed["resize"] = resize
    return dict(changed)


def _name(config: Mapping[str, Any]) -> str:
    """Returns the name of a config, or else one from its parts; it is used in file names."""
    if "name" not in config:
        return "-".join(_name_and_rest(key, config[key])[0] for key in Parts)
    name = config["name"]
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,79}", name):
        raise ValueError(f"name must be letters, digits, '_', '.', '+' and '-', 80 at most. Received {name!r}.")
    return name


def read_backbone(given: Mapping[str, Any] | str) -> Any:
    """Returns the config of a backbone: resnetv2 and its variants, an EfficientNet, or a keras.applications name."""
    from efficientdet.backbones.efficientnet_part import EfficientNetPart
    from efficientdet.backbones.keras_application import KerasApplicationPart, application_names
    from efficientdet.backbones.resnetv2 import VARIANTS, ResNetV2Part

    name, rest = _name_and_rest("backbone", given)
    applications = {application.lower(): application for application in application_names()}
    if name == "resnetv2":
        return read_fields("backbone", rest, ResNetV2Part)
    if name in VARIANTS:
        read = read_fields("backbone", rest, ResNetV2Part)
        return replace(VARIANTS[name], **{key: getattr(read, key) for key in rest})
    if name in EFFICIENTNETS:
        return read_fields("backbone", {"backbone_name": name, **rest}, EfficientNetPart)
    if name in applications:
        return read_fields("backbone", {"application": applications[name], **rest}, KerasApplicationPart)
    raise ValueError(unknown_name("name of backbone", name, list_backbones()))


def list_backbones() -> list[str]:
    """Returns all valid values of `backbone.name`."""
    from efficientdet.backbones.keras_application import application_names
    from efficientdet.backbones.resnetv2 import VARIANTS

    return ["resnetv2", *VARIANTS, *EFFICIENTNETS, *(name.lower() for name in application_names())]


def read_neck(given: Mapping[str, Any] | str) -> Any:
    """Returns the config of a neck: fpn, fpn_graph (FPN as a graph), or a name of `fpn_designs.DESIGNS`."""
    from efficientdet.necks.fpn_neck import FpnPart
    from efficientdet.necks.graph_neck import GraphNeckPart

    name, rest = _name_and_rest("neck", given)
    if name == "fpn":
        return read_fields("neck", rest, FpnPart)
    design = "fpn" if name == "fpn_graph" else name
    if design not in DESIGNS:
        raise ValueError(unknown_name("name of neck", name, list_necks()))
    return read_fields("neck", {"design": design, **rest}, GraphNeckPart)


def list_necks() -> list[str]:
    """Returns all valid values of `neck.name`."""
    return ["fpn", "fpn_graph", *(name for name in DESIGNS if name != "fpn")]


def _read_head(given: Mapping[str, Any] | str) -> Any:
    import importlib

    name, rest = _name_and_rest("head", given)
    if name not in HEADS:
        raise ValueError(unknown_name("name of head", name, HEADS))
    module, _, part = HEADS[name].partition(".")
    return read_fields("head", rest, getattr(importlib.import_module(f"efficientdet.heads.{module}"), part))


def _name_and_rest(what: str, given: Mapping[str, Any] | str) -> tuple[str, dict[str, Any]]:
    if isinstance(given, str):
        return given.lower(), {}
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise ValueError(f"{what} must be a mapping with a name. Received {given!r}.")
    rest = {key: value for key, value in given.items() if key != "name"}
    for key in ("design", "application", "backbone_name"):
        if key in rest:
            raise ValueError(f"{what}.{key} is set by {what}.name; omit it.")
    return given["name"].lower(), rest


def _image_size(config: Mapping[str, Any], backbone: Any) -> Size:
    """Returns (height, width): the detector's, or else the backbone's `input_size`."""
    own = backbone.input_size
    if "image_size" not in config:
        return (int(own[0]), int(own[1]))
    given = config["image_size"]
    try:
        height, width = (given, given) if isinstance(given, int) else fitted(given, tuple[int, int])
    except TypeError:
        raise ValueError(f"image_size must be a side, or [height, width]. Received {given!r}.") from None
    if min(height, width) < 32:
        raise ValueError(f"image_size must be 32 or more. Received {given!r}.")
    is_named = isinstance(config["backbone"], Mapping) and "input_size" in config["backbone"]
    if is_named and tuple(own) != (height, width):
        raise ValueError(f"image_size={given!r} and backbone.input_size={own} differ; omit one of them.")
    return height, width


def plain(value: Any) -> Any:
    """Returns a copy of a config with the types of YAML and JSON."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def level_of_stride(stride: int) -> int:
    """Returns the level of a stride that is a power of 2."""
    return stride.bit_length() - 1


def as_sequence(levels: Sequence[int]) -> str:
    """Returns levels as text, for example "P3 to P7"."""
    return f"P{levels[0]} to P{levels[-1]}"
