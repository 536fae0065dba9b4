"""ImageNet configurations of EfficientNets: input size, dropout, normalization, and an encoder for each."""

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from efficientdet.backbones.stages import SCALES, block_specs, round_filters

if TYPE_CHECKING:
    from efficientdet.backbones.efficientnet import EfficientNet

RGB = tuple[float, float, float]

IMAGENET_MEAN: RGB = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STDDEV: RGB = (0.229 * 255, 0.224 * 255, 0.225 * 255)
LITE_MEAN: RGB = (127.0, 127.0, 127.0)
LITE_STDDEV: RGB = (128.0, 128.0, 128.0)
ADVPROP_MEAN: RGB = (127.5, 127.5, 127.5)
ADVPROP_STDDEV: RGB = (127.5, 127.5, 127.5)
"""AdvProp's x * 2 / 255 - 1 (Xie et al., 2020)."""

# Image size and dropout rate of each network (Tan and Le, 2019; tensorflow/tpu, efficientnet_builder and
# efficientnet_lite_builder).
_TRAINED: dict[str, tuple[int, float]] = {
    "efficientnet-b0": (224, 0.2),
    "efficientnet-b1": (240, 0.2),
    "efficientnet-b2": (260, 0.3),
    "efficientnet-b3": (300, 0.3),
    "efficientnet-b4": (380, 0.4),
    "efficientnet-b5": (456, 0.4),
    "efficientnet-b6": (528, 0.5),
    "efficientnet-b7": (600, 0.5),
    "efficientnet-lite0": (224, 0.2),
    "efficientnet-lite1": (240, 0.2),
    "efficientnet-lite2": (260, 0.3),
    "efficientnet-lite3": (280, 0.3),
    "efficientnet-lite4": (300, 0.3),
}
_HEAD_FILTERS = 1280


@dataclass(frozen=True, kw_only=True)
class ImageNetConfig:
    """ImageNet configuration of one EfficientNet."""

    name: str
    image_size: int
    """Height and width of its input in pixels."""
    dropout: float
    """Dropout rate before the last layer."""
    act_type: str
    head_filters: int
    """Channels of the 1x1 convolution before global average pooling."""
    mean_rgb: RGB
    """Subtracted from pixel values 0 to 255."""
    stddev_rgb: RGB
    resize_method: str
    """bicubic or bilinear: interpolation of the central crop in evaluation."""


def imagenet_config(name: str, *, advprop: bool = False) -> ImageNetConfig:
    """Returns the ImageNet configuration of a network.

    Args:
      name: efficientnet-b0 … b7, efficientnet-lite0 … lite4.
      advprop: whether the checkpoint is one of AdvProp's or NoisyStudent's AdvProp variants, whose
        input is in -1…1.

    Raises:
      ValueError: an unknown name, or AdvProp for a Lite network, for which no checkpoint was published.
    """
    if name not in _TRAINED:
        near = difflib.get_close_matches(name, _TRAINED, n=3)
        hint = f" Similar names: {', '.join(near)}." if near else ""
        raise ValueError(
            f"Unknown network {name!r}.{hint} Known: efficientnet-b0 … efficientnet-b7, efficientnet-lite0 … "
            "efficientnet-lite4."
        )
    is_lite = "lite" in name
    if is_lite and advprop:
        raise ValueError(
            f"advprop needs one of efficientnet-b0 … b7. Received {name}, which has no AdvProp checkpoint."
        )
    image_size, dropout = _TRAINED[name]
    mean, stddev = (LITE_MEAN, LITE_STDDEV) if is_lite else (IMAGENET_MEAN, IMAGENET_STDDEV)
    return ImageNetConfig(
        name=name,
        image_size=image_size,
        dropout=dropout,
        act_type="relu6" if is_lite else "swish",
        head_filters=_HEAD_FILTERS if is_lite else round_filters(_HEAD_FILTERS, SCALES[name][0]),
        mean_rgb=ADVPROP_MEAN if advprop else mean,
        stddev_rgb=ADVPROP_STDDEV if advprop else stddev,
        resize_method="bilinear" if is_lite else "bicubic",
    )


def build_encoder(name: str) -> "EfficientNet":
    """Returns the backbone of a network, not yet built: images `(b, h, w, 3)` to `{level: (b, h, w, c)}`."""
    from efficientdet.backbones.efficientnet import BACKBONE_SURVIVAL_PROB, STEM_FILTERS, EfficientNet

    config = imagenet_config(name)
    is_lite = "lite" in name
    return EfficientNet(
        block_specs(name),
        STEM_FILTERS if is_lite else round_filters(STEM_FILTERS, SCALES[name][0]),
        config.act_type,
        # As in automl's detectors: B0 has no stochastic depth.
        survival_prob=None if name == "efficientnet-b0" else BACKBONE_SURVIVAL_PROB,
        name="backbone",
    )
