"""EfficientDet on Keras 3, numerically compatible with google/automl.

The names below are the public API. They are imported on first use, so that
`import efficientdet` is fast and works where TensorFlow is not installed.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from efficientdet.anchors import anchor_boxes
    from efficientdet.assigners import assign_targets
    from efficientdet.boxes import decode_boxes
    from efficientdet.checkpoint import load_checkpoint, save_checkpoint, variable_names
    from efficientdet.config import DetectorConfig, get_config
    from efficientdet.detectors.build import build_detector
    from efficientdet.errors import CheckpointError
    from efficientdet.model import build_model
    from efficientdet.postprocess import detections

__all__ = [
    "CheckpointError",
    "DetectorConfig",
    "anchor_boxes",
    "assign_targets",
    "build_detector",
    "build_model",
    "decode_boxes",
    "detections",
    "get_config",
    "load_checkpoint",
    "save_checkpoint",
    "variable_names",
]

_HOME = {
    "CheckpointError": "errors",
    "DetectorConfig": "config",
    "anchor_boxes": "anchors",
    "assign_targets": "assigners",
    "build_detector": "detectors.build",
    "build_model": "model",
    "decode_boxes": "boxes",
    "detections": "postprocess",
    "get_config": "config",
    "load_checkpoint": "checkpoint",
    "save_checkpoint": "checkpoint",
    "variable_names": "checkpoint",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
