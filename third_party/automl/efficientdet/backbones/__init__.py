"""Backbones: networks from an image to one feature map per level.

To add one, write a module with `build_backbone(config)` and list it in
`BACKBONES`. Keras is only imported when a backbone is built.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

    from efficientdet.backbones.efficientnet import EfficientNetConfig

BACKBONES: dict[str, str] = {
    **{f"efficientnet-b{number}": "efficientnet" for number in range(9)},
    "efficientnet-l2": "efficientnet",
    **{f"efficientnet-lite{number}": "efficientnet" for number in range(5)},
}
"""Name of the backbone → module of this package that builds it."""


def build_backbone(config: "EfficientNetConfig") -> "keras.layers.Layer":
    """Returns the backbone of a config, not yet built.

    Called on images `(b, h, w, 3)` it returns `{level: (b, h, w, c)}` from level
    1 (half the size) up.
    """
    page = importlib.import_module(f"{__name__}.{BACKBONES[config.backbone_name]}")
    return page.build_backbone(config)
