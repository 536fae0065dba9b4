"""Configuration of a network: the hyper-parameters that change what a checkpoint computes."""

import dataclasses
import itertools
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from efficientdet.automl import hparams as hparams_module
from efficientdet.automl.hparams import HPARAMS, NETWORK, NMS_HPARAMS, model_hparams, parse_hparams, unknown_name
from efficientdet.backbones import BACKBONES
from efficientdet.heads import HEADS
from efficientdet.necks.fpn_designs import DESIGNS, check_fpn_config, design_graph, num_cells, weight_method
from efficientdet.necks.fpn_graphs import WEIGHT_METHODS, Graph

ACT_TYPES = ("swish", "silu", "swish_native", "hswish", "relu", "relu6", "mish", "srelu")
"""Names of activations; `activations.ACTIVATIONS` has the formulas."""

RESIZES = ("letterbox", "stretch")
"""How an image is resized to the canvas. letterbox: it keeps its aspect ratio and lies at the top left. stretch: it
fills the canvas, as in MediaPipe."""

NMS_METHODS = ("gaussian", "hard", "")
"""NMS methods that a graph can hold; automl's diou and linear exist in its numpy code only. Empty means hard."""


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """Configuration of a network. Names and values are automl's; `get_config` creates one.

    Raises:
      ValueError: a value is invalid; the message names the key, the expected
        and the received value.
    """

    name: str
    act_type: str
    """One of `ACT_TYPES`; the same in backbone, neck and heads."""
    image_size: tuple[int, int]
    """(height, width) of the canvas in pixels. A side or "WIDTHxHEIGHT" is accepted too."""
    resize: str = "letterbox"
    """One of `RESIZES`; automl has only the first."""
    num_classes: int
    """The largest label id. The background has no output column."""
    seg_num_classes: int
    heads: tuple[str, ...]
    min_level: int
    max_level: int
    num_scales: int
    aspect_ratios: tuple[float | tuple[float, float], ...]
    """Width divided by height, or (width, height) as factors of the anchor side."""
    anchor_scale: float | tuple[float, ...]
    """Anchor side in strides of its level; one for all levels, or one per level."""
    data_format: str
    mean_rgb: float | tuple[float, float, float]
    """Subtracted from pixel values 0 to 255."""
    stddev_rgb: float | tuple[float, float, float]
    scale_range: bool
    """Whether inputs are scaled to -1…1, as AdvProp checkpoints expect, instead of by mean_rgb and stddev_rgb."""
    box_class_repeats: int
    fpn_cell_repeats: int
    fpn_num_filters: int
    separable_conv: bool
    apply_bn_for_resampling: bool
    conv_after_downsample: bool
    conv_bn_act_pattern: bool
    """Whether the order in the neck is convolution, normalization, activation; else the activation comes first."""
    nms_configs: dict[str, Any] = field(hash=False)
    fpn_name: str | None
    """One of `necks.fpn_designs.DESIGNS`; None is bifpn."""
    fpn_weight_method: str | None
    """One of `necks.fpn_graphs.WEIGHT_METHODS`; None is fastattn."""
    fpn_config: dict[str, Any] | None = field(hash=False)
    """A custom graph, as `necks.fpn_graphs.custom_graph` reads it; without nodes, options of `fpn_name`:
    weight_method, depth, and for parallel paths (vfpn…) paths and input_edge."""
    survival_prob: float | None
    """Probability that a layer of a head is kept in training; None keeps all layers, without residual connections."""
    backbone_name: str
    backbone_config: dict[str, Any] | None = field(hash=False)
    """Custom stages, as `backbones.efficientnet` reads them."""

    def __post_init__(self) -> None:
        for key, value in (
            ("image_size", _height_and_width(self.image_size)),
            ("heads", tuple(self.heads)),
            ("aspect_ratios", _tuples(self.aspect_ratios)),
            ("anchor_scale", _tuples(self.anchor_scale)),
            ("mean_rgb", _tuples(self.mean_rgb)),
            ("stddev_rgb", _tuples(self.stddev_rgb)),
        ):
            object.__setattr__(self, key, value)
        _check_names(self)
        _check_pyramid(self)
        _check_backbone(self)
        _check_numbers(self)

    @property
    def levels(self) -> range:
        """Levels of the pyramid; a feature map of level l has a stride of 2^l canvas pixels."""
        return range(self.min_level, self.max_level + 1)

    @property
    def num_anchors(self) -> int:
        """Number of anchors per location of a feature map."""
        return self.num_scales * len(self.aspect_ratios)

    @property
    def weight_method(self) -> str:
        """Fusion method of the neck's nodes, defaults filled in."""
        return weight_method(self.fpn_name or "bifpn", self.fpn_config or {}, self.fpn_weight_method)

    @property
    def graph(self) -> Graph:
        """The nodes of one cell of the neck."""
        return design_graph(
            self.fpn_name or "bifpn",
            self.fpn_config or {},
            self.fpn_cell_repeats,
            min_level=self.min_level,
            max_level=self.max_level,
        )

    @property
    def num_fpn_cells(self) -> int:
        """Cells of the neck in series."""
        return num_cells(self.fpn_name or "bifpn", self.fpn_config or {}, self.fpn_cell_repeats)

    def override(self, source: str | os.PathLike[str] | Mapping[str, Any] | None) -> "DetectorConfig":
        """Returns a copy of the config with some values replaced.

        Args:
          source: hparams in a form that `hparams.parse_hparams` reads. Those of
            a run are checked and otherwise ignored.
        """
        written = _network_values(parse_hparams(source))
        written["nms_configs"] = self.nms_configs | written.get("nms_configs", {})
        return dataclasses.replace(self, **written)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "DetectorConfig":
        """Returns the config with these fields, as `dataclasses.asdict` or JSON gives them.

        Raises:
          TypeError: a field is unknown or missing.
        """
        return cls(**fields)

    def to_hparams(self) -> dict[str, Any]:
        """Returns the config as plain values that YAML, JSON and `override` accept."""
        values = {key: _lists(value) for key, value in dataclasses.asdict(self).items()}
        if self.resize == "letterbox":
            del values["resize"]  # automl does not have this key.
        height, width = self.image_size
        return values | {"image_size": f"{width}x{height}"}


def get_config(name: str = "efficientdet-d0", **hparams: Any) -> DetectorConfig:
    """Returns the config of a published model, with some values replaced.

    Args:
      name: one of `hparams.MODELS`.
      **hparams: automl's hyper-parameters by name, for example num_classes=20.

    Raises:
      ValueError: an unknown name, or an invalid value.

    >>> get_config("efficientdet-d0", image_size="320x256").image_size
    (256, 320)
    """
    defaults = _network_values(model_hparams(name))
    written = _network_values(parse_hparams(hparams))
    written["nms_configs"] = defaults["nms_configs"] | written.get("nms_configs", {})
    return DetectorConfig(**(defaults | written))


def _network_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if HPARAMS[key].owner == NETWORK}


def _height_and_width(size: hparams_module.Size) -> tuple[int, int]:
    if isinstance(size, int):
        height = width = size
    elif isinstance(size, str) and (sides := re.fullmatch(r"(\d+)(?:x(\d+))?", size.strip())):
        width, height = int(sides[1]), int(sides[2] or sides[1])
    elif isinstance(size, (tuple, list)) and len(size) == 2 and all(isinstance(side, int) for side in size):
        height, width = size
    else:
        height = width = 0
    if min(height, width) < 1:
        raise ValueError(
            f"image_size must be a whole number above 0, a string WIDTHxHEIGHT such as 640x384, "
            f"or (height, width). Received image_size={size!r}."
        )
    return height, width


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value


def _lists(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, (list, tuple)) else value


def _refuse(key: str, expected: str, received: Any) -> None:
    raise ValueError(f"{key} must be {expected}. Received {key}={received!r}.")


def _check_names(config: DetectorConfig) -> None:
    # Checked first, because the weight method depends on it.
    if (config.fpn_name or "bifpn") not in DESIGNS:
        raise ValueError(unknown_name("fpn_name", config.fpn_name, DESIGNS))
    tables: list[tuple[str, Any, Any]] = [
        ("act_type", config.act_type, ACT_TYPES),
        ("backbone", config.backbone_name, BACKBONES),
        ("fpn_weight_method", config.weight_method, WEIGHT_METHODS),
        ("resize", config.resize, RESIZES),
        ("nms_configs.method", config.nms_configs.get("method"), NMS_METHODS),
        *(("head", head, HEADS) for head in config.heads),
    ]
    for what, name, known in tables:
        if name not in known:
            raise ValueError(unknown_name(what, name, known))
    if not config.heads or len(set(config.heads)) != len(config.heads):
        _refuse("heads", f"one or more of {', '.join(HEADS)}, each once", config.heads)
    if config.data_format == "channels_first":
        raise ValueError(
            "data_format=channels_first is not supported and not needed: checkpoints are the same and "
            "channels_last gives the same numbers; leave data_format out."
        )
    if config.data_format != "channels_last":
        _refuse("data_format", "channels_last", config.data_format)
    for key in config.nms_configs:
        if key not in NMS_HPARAMS:
            raise ValueError(unknown_name("key of nms_configs", key, NMS_HPARAMS))


def _check_pyramid(config: DetectorConfig) -> None:
    if not 1 <= config.min_level <= 5:
        _refuse("min_level", "1 to 5, the levels that a backbone has", config.min_level)
    if not config.min_level < config.max_level <= 12:
        _refuse("max_level", f"above min_level={config.min_level} and at most 12", config.max_level)
    check_fpn_config(config.fpn_name or "bifpn", config.fpn_config or {})
    _ = config.graph
    if "segmentation" not in config.heads:
        return
    for side in config.image_size:
        sides = [math.ceil(side / 2**level) for level in config.levels]
        if any(finer != 2 * coarser for finer, coarser in itertools.pairwise(sides)):
            raise ValueError(
                f"heads=segmentation needs an image_size that is divisible by 2^{config.max_level}, "
                f"that is multiples of {2**config.max_level}. "
                f"Received image_size={config.image_size} (height, width)."
            )


def _check_backbone(config: DetectorConfig) -> None:
    num_levels = BACKBONES[config.backbone_name].num_levels(config.backbone_config)
    wanted = min(config.max_level, 5)
    if num_levels < wanted:
        raise ValueError(
            f"backbone_config must give levels up to {wanted}. Received {config.backbone_name} with {num_levels} "
            "levels; each stage with stride 2 starts another level."
        )


def _is_finite(value: float | tuple[Any, ...]) -> bool:
    return all(map(_is_finite, value)) if isinstance(value, tuple) else math.isfinite(value)


def _check_numbers(config: DetectorConfig) -> None:
    for key in ("aspect_ratios", "anchor_scale", "mean_rgb", "stddev_rgb"):
        if not _is_finite(getattr(config, key)):
            _refuse(key, "finite numbers", getattr(config, key))
    counts = "num_classes seg_num_classes num_scales fpn_cell_repeats fpn_num_filters"
    for key in counts.split():
        if getattr(config, key) < 1:
            _refuse(key, "1 or more", getattr(config, key))
    if config.box_class_repeats < 0:
        _refuse("box_class_repeats", "0 or more", config.box_class_repeats)
    if config.survival_prob is not None and not 0 <= config.survival_prob <= 1:
        _refuse("survival_prob", "above 0 and at most 1, or None", config.survival_prob)
    ratios = [value for ratio in config.aspect_ratios for value in (ratio if isinstance(ratio, tuple) else (ratio,))]
    pairs = all(len(ratio) == 2 for ratio in config.aspect_ratios if isinstance(ratio, tuple))
    if not ratios or not pairs or min(ratios) <= 0:
        _refuse("aspect_ratios", "one or more numbers above 0, or pairs (width, height) of them", config.aspect_ratios)
    is_list = isinstance(config.anchor_scale, tuple)
    scales: tuple[Any, ...] = config.anchor_scale if isinstance(config.anchor_scale, tuple) else (config.anchor_scale,)
    if (is_list and len(scales) != len(config.levels)) or min(scales) <= 0:
        expected = f"a number above 0, or {len(config.levels)} of them, one per level"
        _refuse("anchor_scale", expected, config.anchor_scale)
    for key in ("mean_rgb", "stddev_rgb"):
        value = getattr(config, key)
        if isinstance(value, tuple) and len(value) != 3:
            _refuse(key, "a number or three of them, red, green and blue", value)
    deviations = config.stddev_rgb if isinstance(config.stddev_rgb, tuple) else (config.stddev_rgb,)
    if min(deviations) <= 0:
        _refuse("stddev_rgb", "above 0", config.stddev_rgb)
