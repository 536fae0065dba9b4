"""YOLOR and YOLOv7 head: three preset anchors per cell; sides and centers are decoded from squared sigmoids.

Wang et al. 2021, "You Only Learn One Representation".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from efficientdet.anchor_modes import cell_boxes, yolor_anchors
from efficientdet.boxes import ciou
from efficientdet.detection_losses import BinaryCrossEntropyLoss, BoxPair, IouLoss, binary_cross_entropy
from efficientdet.heads.cell_head import CellHead, CellHeadPart, matched
from efficientdet.heads.head_interface import Candidates, Outputs, Size, flat_levels, map_sizes, priors_of
from efficientdet.heads.twin_towers import Prediction
from efficientdet.label_assignment.anchor_ratio import AnchorRatioAssigner
from efficientdet.label_assignment.assignment import Priors, assign_batch, padded_objects
from efficientdet.types import IGNORED, GroundTruth, Tensor

LEVEL_WEIGHTS = {3: (4.0, 1.0, 0.4), 4: (4.0, 1.0, 0.4, 0.1), 5: (4.0, 1.0, 0.5, 0.4, 0.1)}
"""Number of levels → weight of the object loss of each level, lowest first."""
PER_CELL = 3


@dataclass(frozen=True, kw_only=True)
class YolorPart(CellHeadPart):
    """Configuration of a YOLOR-style head; levels must be 3 to 5, 6 or 7, which have preset anchors."""

    max_ratio: float = 4.0
    """Largest ratio between an anchor's side and an object's side of a match."""
    class_loss_weight: float = 0.3
    box_loss_weight: float = 0.05
    object_loss_weight: float = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_ratio <= 1:
            raise ValueError(f"max_ratio must be above 1. Received {self.max_ratio}.")

    def build(self, levels: range) -> "YolorHead":
        """Returns the head for the given pyramid levels."""
        return YolorHead(self, levels, name="head")


class YolorHead(CellHead):
    """Three predictions per cell: class, object and box."""

    loss_names = ("class_loss", "box_loss", "object_loss")

    def __init__(self, part: YolorPart, levels: range, **options: Any) -> None:
        predictions = {
            "class": Prediction("class", PER_CELL * part.num_classes, is_score=True),
            "box": Prediction("box", PER_CELL * 4, is_score=False),
            "object": Prediction("box", PER_CELL, is_score=True),
        }
        super().__init__(part, levels, predictions, **options)
        self.part = part
        self.shapes = {
            level: np.asarray(shapes, np.float32) for level, shapes in zip(levels, yolor_anchors(levels), strict=True)
        }

    def _geometry(self, sizes: Mapping[int, Size], image_size: Size) -> tuple[Priors, np.ndarray]:
        """Returns the anchors, centered in their cells, and the stride of each, (a, 2) vertical and horizontal."""
        strides = {level: np.divide(image_size, size) for level, size in sizes.items()}
        boxes = [cell_boxes(size, strides[level], self.shapes[level], offset=0.5) for level, size in sizes.items()]
        steps = [
            np.tile(np.asarray(strides[level], np.float32), (len(rows), 1))
            for level, rows in zip(sizes, boxes, strict=True)
        ]
        return priors_of(boxes, [float(stride.max()) for stride in strides.values()]), np.concatenate(steps)

    def _boxes(self, raw: Tensor, priors: Priors, steps: np.ndarray) -> Tensor:
        ratio = 2.0 * ops.sigmoid(raw)
        # The center of an anchor is the center of its cell, half a stride from the grid: the middle of the 2p range.
        center = ops.convert_to_tensor(priors.centers) + (ratio[..., :2] - 1.0) * ops.convert_to_tensor(steps)
        size = ops.convert_to_tensor(priors.boxes[:, 2:] - priors.boxes[:, :2])
        half = ops.square(ratio[..., 2:]) * size / 2.0
        return ops.concatenate([center - half, center + half], axis=-1)

    def decode(self, outputs: Outputs, image_size: Size) -> Candidates:
        """Returns the boxes and scores of all anchors."""
        priors, steps = self._geometry(map_sizes(outputs["class"]), image_size)
        scores = ops.sigmoid(flat_levels(outputs["class"], self.part.num_classes))
        boxes = self._boxes(flat_levels(outputs["box"], 4), priors, steps)
        return Candidates(boxes, scores * ops.sigmoid(flat_levels(outputs["object"], 1)))

    def losses(self, outputs: Outputs, truth: GroundTruth, image_size: Size) -> dict[str, Tensor]:
        """Returns "class_loss", "box_loss" and "object_loss": means, times 3 over the number of levels."""
        part, sizes = self.part, map_sizes(outputs["class"])
        priors, steps = self._geometry(sizes, image_size)
        boxes = self._boxes(flat_levels(outputs["box"], 4), priors, steps)
        logits, object_logits = flat_levels(outputs["class"], part.num_classes), flat_levels(outputs["object"], 1)
        strides = {level: (image_size[0] / size[0], image_size[1] / size[1]) for level, size in sizes.items()}
        assigner = AnchorRatioAssigner(sizes=sizes, strides=strides, shapes=self.shapes, max_ratio=part.max_ratio)
        objects = padded_objects(truth)
        target = matched(assign_batch(assigner, priors, objects), objects, part.num_classes)
        pair = BoxPair(boxes, target.boxes, boxes, target.boxes)
        positive = ops.cast(target.is_positive, "float32")
        overlap = ops.where(target.is_positive, ops.stop_gradient(ops.maximum(ciou(boxes, target.boxes), 0.0)), 0.0)
        object_entropy = binary_cross_entropy(object_logits[..., 0], overlap)
        object_loss, start = ops.zeros((), "float32"), 0
        for weight, count in zip(LEVEL_WEIGHTS[len(sizes)], priors.per_level, strict=True):
            object_loss = object_loss + weight * ops.mean(object_entropy[:, start : start + count])
            start += count
        class_index = ops.where(target.is_positive, target.class_index, IGNORED)
        class_loss = BinaryCrossEntropyLoss()(logits, class_index, positive) / part.num_classes
        scale = 3.0 / len(sizes)
        return {
            "class_loss": scale * part.class_loss_weight * class_loss / target.num_positives,
            "box_loss": scale
            * part.box_loss_weight
            * IouLoss(kind="ciou")(pair, target.is_positive)
            / target.num_positives,
            "object_loss": scale * part.object_loss_weight * object_loss,
        }
