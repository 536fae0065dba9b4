"""Configuration of a detector built from parts: tables of names, and checks across parts."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from efficientdet.automl.hparams import unknown_name
from efficientdet.backbones import BACKBONES as EFFICIENTNETS
from efficientdet.detectors.detector import as_sequence, level_of_stride
from efficientdet.detectors.part_reader import fitted, read_fields
from efficientdet.necks.fpn_designs import DESIGNS

Size = tuple[int, int]

HEADS: dict[str, str] = {
    "anchorhead": "anchor_head.AnchorHeadPart",
    "anchor_free": "anchor_free_head.AnchorFreePart",
    "yolor": "yolor_head.YolorPart",
    "yolov8": "yolov8_head.Yolov8Part",
}
"""Lower-case name → module of `heads` and its dataclass."""

KEYS = ("backbone", "neck", "head", "image_size", "weight_decay", "class_names")
"""Keys of a detector's config; class_names is informative and must match num_classes."""

_OF_A_RUN = {"clip_gradients_norm": "the optimizer (clipnorm)", "class_cfg": "class_names"}


@dataclass(frozen=True, kw_only=True)
class DetectorParts:
    """Parsed and checked config of a detector."""

    backbone: Any
    neck: Any
    head: Any
    image_size: Size
    weight_decay: float = 4e-5
    """Weight of the L2 penalty: half of it times the sum of squares of all kernels is added to the loss."""
    class_names: tuple[str, ...] = ()
    source: dict[str, Any] = field(default_factory=dict, repr=False)
    """The original config."""

    def levels(self, backbone_levels: Sequence[int]) -> range:
        """Returns the levels of the pyramid.

        Raises:
          ValueError: backbone, neck and head do not match.
        """
        strides = self.head.strides
        lowest = level_of_stride(strides[0]) if strides else None
        levels: range = self.neck.levels(backbone_levels, lowest)
        given = [2**level for level in levels]
        if strides and list(strides) != given:
            raise ValueError(
                f"The neck gives levels {as_sequence(levels)}, with strides {given}, and the head reads strides "
                f"{list(strides)}; set neck.num_nb_outs and neck.start_level (or min_level and max_level), or the "
                "head's strides."
            )
        return levels


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
    for key in ("backbone", "neck", "head"):
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
    if names and len(names) != head.num_classes:
        raise ValueError(f"class_names must have head.num_classes={head.num_classes} entries. Received {len(names)}.")
    twice = sorted({str(name) for name in names if list(names).count(name) > 1})
    if twice:
        raise ValueError(f"class_names must differ. Received {', '.join(twice)} more than once.")
    decay = config.get("weight_decay", 4e-5)
    if isinstance(decay, bool) or not isinstance(decay, (int, float)) or decay < 0:
        raise ValueError(f"weight_decay must be a number of at least 0. Received {decay!r}.")
    return DetectorParts(
        backbone=backbone,
        neck=neck,
        head=head,
        image_size=_image_size(config, backbone),
        weight_decay=float(decay),
        class_names=tuple(names),
        source=plain(config),
    )


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
