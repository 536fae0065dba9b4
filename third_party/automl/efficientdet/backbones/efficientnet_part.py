"""EfficientNet backbones of detectors built from parts."""

from dataclasses import dataclass
from typing import Any

from efficientdet.backbones import build_backbone
from efficientdet.backbones.stages import STAGES, block_specs, last_of_levels

_IMAGENET = ((0.485 * 255, 0.456 * 255, 0.406 * 255), (0.229 * 255, 0.224 * 255, 0.225 * 255))
_LITE = ((127.0, 127.0, 127.0), (128.0, 128.0, 128.0))


@dataclass(frozen=True, kw_only=True)
class EfficientNetPart:
    """Configuration of an EfficientNet or EfficientNet-Lite."""

    backbone_name: str
    """One of `backbones.BACKBONES`; the name of the part."""
    input_size: tuple[int, int] = (512, 512)
    """(height, width) of images."""
    act_type: str | None = None
    """None: swish, or relu6 for the Lite networks."""
    blocks: tuple[str, ...] | None = None
    """Custom stages, as `backbones.stages` reads them."""

    def __post_init__(self) -> None:
        from efficientdet.config import ACT_TYPES

        if self.act_type is None:
            object.__setattr__(self, "act_type", "relu6" if "lite" in self.backbone_name else "swish")
        if self.act_type not in ACT_TYPES:
            raise ValueError(f"act_type must be one of {', '.join(ACT_TYPES)}. Received {self.act_type!r}.")
        block_specs(self.backbone_name, self.blocks or STAGES)

    @property
    def backbone_config(self) -> dict[str, Any] | None:
        """Returns the stages in the form of automl's config."""
        return {"blocks": list(self.blocks)} if self.blocks else None

    @property
    def levels(self) -> range:
        """Levels of the maps that the network gives."""
        return range(1, 1 + len(last_of_levels(block_specs(self.backbone_name, self.blocks or STAGES))))

    @property
    def without_effect(self) -> list[str]:
        """Returns the given keys that have no effect in a detector."""
        return []

    @property
    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Returns mean and standard deviation of the pixels, 0 to 255, that the backbone expects."""
        return _LITE if "lite" in self.backbone_name else _IMAGENET

    def build(self) -> Any:
        """Returns the network."""
        return build_backbone(self)
