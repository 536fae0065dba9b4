"""Objective of a network with both heads of automl: boxes of objects, and the class of each pixel."""

from typing import Any

from keras import ops

from efficientdet.config import DetectorConfig
from efficientdet.segmentation_training import SegmentationObjective
from efficientdet.training_model import Objective
from efficientdet.types import Targets, Tensor

LOSS_NAME = "segmentation_loss"


class BoxMapObjective:
    """The losses of the boxes plus that of the maps, each divided by its own normalizer.

    google/automl adds the loss of each pixel to the scalar losses of the boxes,
    which multiplies those by the number of pixels; here the map's loss is a mean,
    with weight 1.
    """

    def __init__(self, config: DetectorConfig, boxes: Objective, maps: SegmentationObjective) -> None:
        """Joins two objectives.

        Args:
          config: of the network; its head `segmentation` has a stride of 2^(min_level - 1) canvas pixels.
          boxes: objective of the classes and boxes.
          maps: objective of the class of each pixel.
        """
        self.boxes, self.maps = boxes, maps
        self.stride = map_stride(config)
        self.loss_names = (*boxes.loss_names, LOSS_NAME)

    def targets(self, truth: Any) -> tuple[Targets, Tensor]:
        """Returns the targets of the anchors, and the maps (b, h, w) at the resolution of the head.

        Args:
          truth: boxes (b, n, 4) and class ids (b, n) of a `GroundTruth`, and maps (b, H, W) of the canvas.
        """
        boxes, class_ids, maps = truth
        # The pixel nearest to the center of each cell of the head.
        first = self.stride // 2
        return self.boxes.targets((boxes, class_ids)), self.maps.targets(
            maps[:, first :: self.stride, first :: self.stride]
        )

    def count(self, targets: Any) -> Tensor:
        """Returns the number of positive anchors and the number of counted pixels, (2,)."""
        anchors, maps = targets
        return ops.stack([self.boxes.count(anchors), self.maps.count(maps)])

    def normalizer(self, count: Tensor) -> Tensor:
        """Returns the divisors of both, (2,)."""
        return ops.stack([self.boxes.normalizer(count[0]), self.maps.normalizer(count[1])])

    def terms(self, outputs: Any, targets: Any, normalizer: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the sum of the weighted losses of the boxes and of the map's loss, and each of them."""
        anchors, maps = targets
        of_boxes, terms = self.boxes.terms(outputs, anchors, normalizer[0])
        of_maps, _ = self.maps.terms(outputs["segmentation"], maps, normalizer[1])
        return of_boxes + of_maps, {**terms, LOSS_NAME: of_maps}


def map_stride(config: DetectorConfig) -> int:
    """Returns the canvas pixels per pixel of the segmentation head, along each axis."""
    return int(2 ** (config.min_level - 1))
