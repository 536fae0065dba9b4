"""Backbones: networks from an image to one feature map per level.

A backbone is a module with two functions and an entry in `BACKBONES`:

- `build_backbone(config)` returns a layer, not yet built. Called with images `(b, h, w, 3)`, `seed` and `training`,
  it returns `{level: (b, h / 2**level, w / 2**level, c)}` from level 1 up; its `channels` maps each level to c.
- `count_operations(backbone, meter, image_size)` counts the layers of a forward pass on a `flops.Meter`.

Keras is only imported when a backbone is built.
"""

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from efficientdet.backbones.stages import SCALES, num_levels

if TYPE_CHECKING:
    import keras

    from efficientdet.backbones.efficientnet import EfficientNetConfig


class Backbone(NamedTuple):
    """An entry of `BACKBONES`."""

    module: str
    """Full name of the module that builds it."""
    num_levels: Callable[[Mapping[str, Any] | None], int]
    """Returns the number of levels for a backbone_config; raises ValueError if that is invalid."""


BACKBONES: dict[str, Backbone] = dict.fromkeys(SCALES, Backbone("efficientdet.backbones.efficientnet", num_levels))
"""Name → backbone."""


def backbone_module(name: str) -> ModuleType:
    """Returns the module of the backbone with this name."""
    return importlib.import_module(BACKBONES[name].module)


def build_backbone(config: "EfficientNetConfig") -> "keras.layers.Layer":
    """Returns the backbone of a config, not yet built."""
    return backbone_module(config.backbone_name).build_backbone(config)
