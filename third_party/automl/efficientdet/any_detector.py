"""Any detector: one of a name and its hyper-parameters, or one built from parts."""

from typing import TYPE_CHECKING, TypeAlias

from efficientdet.config import DetectorConfig
from efficientdet.detectors.config import DetectorParts

if TYPE_CHECKING:
    from efficientdet.detectors.detector import OneStageDetector
    from efficientdet.model import Detector

AnyDetectorConfig: TypeAlias = DetectorConfig | DetectorParts
"""Both have name, num_classes, image_size, resize, levels, heads, nms_configs and the normalization of pixels."""

AnyDetector: TypeAlias = "Detector | OneStageDetector"
"""From `build_model` of such a config."""
