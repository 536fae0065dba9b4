"""Types of detectors and configs: of a named model with hyper-parameters, or of a detector built from parts."""

from typing import TYPE_CHECKING, TypeAlias

from efficientdet.config import DetectorConfig
from efficientdet.detectors.config import DetectorParts

if TYPE_CHECKING:
    from efficientdet.detectors.detector import OneStageDetector
    from efficientdet.model import Detector

AnyDetectorConfig: TypeAlias = DetectorConfig | DetectorParts
"""Both have name, num_classes, image_size, resize, levels, heads, nms_configs and pixel normalization."""

AnyDetector: TypeAlias = "Detector | OneStageDetector"
"""Result of `build_model`."""
