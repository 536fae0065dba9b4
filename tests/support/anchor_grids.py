"""Anchor grids of a detector with the published anchors."""

from typing import Any

from efficientdet_pipeline.models.anchor_fit import AnchorGrid


def grid_of(size: int = 256, **changed: Any) -> AnchorGrid:
    """Returns the grid of a square canvas, with some fields changed."""
    values: dict[str, Any] = {
        "image_size": (size, size),
        "min_level": 3,
        "max_level": 7,
        "num_scales": 3,
        "aspect_ratios": (1.0, 2.0, 0.5),
        "anchor_scale": (4.0,) * 5,
    }
    return AnchorGrid(**{**values, **changed})
