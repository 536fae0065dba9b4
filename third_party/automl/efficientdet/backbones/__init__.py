"""Backbones: an image in, one feature map per halving of its size out.

To add one, write its page with a `build_backbone(config)` and give it a line
in `BACKBONES`. Nothing here imports Keras before a backbone is built.
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
"""Backbone's name → the page of this folder that builds it."""


def build_backbone(config: "EfficientNetConfig") -> "keras.layers.Layer":
    """Returns the backbone that the config names, not yet built.

    Called on images `(b, h, w, 3)` it gives `{level: (b, h, w, c)}` from level
    1 (half the size) on.
    """
    page = importlib.import_module(f"{__name__}.{BACKBONES[config.backbone_name]}")
    return page.build_backbone(config)
