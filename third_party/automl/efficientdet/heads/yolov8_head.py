"""YOLOv8 head: distances to the four sides of the box as distributions over bins.

Li et al. 2020, "Generalized Focal Loss" (distribution focal loss).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from keras import ops

from efficientdet.anchor_modes import cell_boxes
from efficientdet.detection_losses import BinaryCrossEntropyLoss, BoxPair, IouLoss
from efficientdet.detectors.part_reader import read_part
from efficientdet.heads.anchor_head import ASSIGNERS
from efficientdet.heads.cell_head import CellHead, CellHeadPart, matched
from efficientdet.heads.head_interface import Candidates, Outputs, Size, flat_levels, map_sizes, priors_of
from efficientdet.heads.twin_towers import Prediction
from efficientdet.label_assignment.assignment import Assigner, Predicted, Priors, assign_batch, padded_objects
from efficientdet.types import GroundTruth, Tensor


@dataclass(frozen=True, kw_only=True)
class Yolov8Part(CellHeadPart):
    """Configuration of a YOLOv8-style head."""

    assigner: dict[str, Any] = field(default_factory=lambda: {"name": "task_aligned_assigner"})
    num_bins: int = 16
    """Bins of each distance: 0 to num_bins - 1 strides."""
    class_loss_weight: float = 1.0 / 3.0
    box_loss_weight: float = 5.0
    dfl_loss_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_bins < 2:
            raise ValueError(f"num_bins must be 2 or more. Received {self.num_bins}.")
        _ = read_part("assigner", self.assigner, ASSIGNERS)

    def build(self, levels: range) -> "Yolov8Head":
        """Returns the head for the given pyramid levels."""
        return Yolov8Head(self, levels, name="head")


class Yolov8Head(CellHead):
    """One prediction per cell: classes, and 4 * num_bins logits of the distances to top, left, bottom and right."""

    loss_names = ("class_loss", "box_loss", "dfl_loss")

    def __init__(self, part: Yolov8Part, levels: range, **options: Any) -> None:
        predictions = {
            "class": Prediction("class", part.num_classes, is_score=True),
            "box": Prediction("box", 4 * part.num_bins, is_score=False),
        }
        super().__init__(part, levels, predictions, **options)
        self.part = part
        self.assigner: Assigner = read_part("assigner", part.assigner, ASSIGNERS)

    def cells(self, sizes: Mapping[int, Size], image_size: Size) -> tuple[Priors, Float[np.ndarray, "a 1"]]:
        """Returns one box per cell with a side of one stride, and half of its height and width, (a, 2)."""
        strides = [np.divide(image_size, size) for size in sizes.values()]
        boxes = [
            cell_boxes(size, stride, stride[None], offset=0.5)
            for size, stride in zip(sizes.values(), strides, strict=True)
        ]
        priors = priors_of(boxes, [float(stride.max()) for stride in strides])
        return priors, priors.boxes[:, 2:] - priors.boxes[:, :2]

    def _boxes(self, logits: Float[Tensor, "b a 4 n"], priors: Priors, strides: np.ndarray) -> Float[Tensor, "b a 4"]:
        bins = ops.arange(self.part.num_bins, dtype="float32")
        distance = ops.sum(ops.softmax(logits, axis=-1) * bins, axis=-1)
        step, center = ops.convert_to_tensor(strides), ops.convert_to_tensor(priors.centers)
        return ops.concatenate([center - distance[..., :2] * step, center + distance[..., 2:] * step], axis=-1)

    def _side_logits(self, outputs: Outputs) -> Float[Tensor, "b a 4 n"]:
        flat = flat_levels(outputs["box"], 4 * self.part.num_bins)
        return ops.reshape(flat, (-1, flat.shape[1], 4, self.part.num_bins))

    def decode(self, outputs: Outputs, image_size: Size) -> Candidates:
        """Returns the boxes and scores of all cells."""
        priors, strides = self.cells(map_sizes(outputs["class"]), image_size)
        boxes = self._boxes(self._side_logits(outputs), priors, strides)
        return Candidates(boxes, ops.sigmoid(flat_levels(outputs["class"], self.part.num_classes)))

    def losses(self, outputs: Outputs, truth: GroundTruth, image_size: Size) -> dict[str, Tensor]:
        """Returns "class_loss", "box_loss" and "dfl_loss": sums divided by the positives of the batch."""
        part = self.part
        priors, strides = self.cells(map_sizes(outputs["class"]), image_size)
        logits, sides = flat_levels(outputs["class"], part.num_classes), self._side_logits(outputs)
        boxes = self._boxes(sides, priors, strides)
        objects = padded_objects(truth)
        assignment = assign_batch(self.assigner, priors, objects, Predicted(ops.sigmoid(logits), boxes))
        target = matched(assignment, objects, part.num_classes)
        pair = BoxPair(boxes, target.boxes, boxes, target.boxes)
        center, step = ops.convert_to_tensor(priors.centers), ops.convert_to_tensor(strides)
        distance = ops.concatenate([center - target.boxes[..., :2], target.boxes[..., 2:] - center], axis=-1)
        distance = distance / ops.concatenate([step, step], axis=-1)
        dfl = ops.mean(_distribution_focal_loss(sides, distance, part.num_bins), axis=-1)
        losses = {
            "class_loss": part.class_loss_weight
            * BinaryCrossEntropyLoss()(logits, target.class_index, assignment.quality),
            "box_loss": part.box_loss_weight * IouLoss(kind="ciou", squared=True)(pair, target.is_positive),
            "dfl_loss": part.dfl_loss_weight * ops.sum(ops.where(target.is_positive, dfl, 0.0)),
        }
        return {name: value / target.num_positives for name, value in losses.items()}


def _distribution_focal_loss(logits: Float[Tensor, "*b n"], distance: Float[Tensor, "*b"], num_bins: int) -> Tensor:
    """Returns the cross-entropy with the two bins next to a distance, weighted by how near it is to each."""
    distance = ops.clip(distance, 0.0, num_bins - 1.01)
    left = ops.floor(distance)
    share = (distance - left)[..., None]
    low = ops.one_hot(ops.cast(left, "int32"), num_bins, dtype="float32")
    high = ops.one_hot(ops.cast(left, "int32") + 1, num_bins, dtype="float32")
    return -ops.sum(((1.0 - share) * low + share * high) * ops.log_softmax(logits, axis=-1), axis=-1)
