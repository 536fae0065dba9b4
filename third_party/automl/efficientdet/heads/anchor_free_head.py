"""Anchor-free head of YOLOX. Ge et al. 2021, "YOLOX: Exceeding YOLO Series in 2021"."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from keras import ops

from efficientdet.anchor_modes import cell_boxes
from efficientdet.boxes import decode_boxes, encode_boxes
from efficientdet.detection_losses import BinaryCrossEntropyLoss, BoxPair, IouLoss, binary_cross_entropy
from efficientdet.detectors.part_reader import read_part
from efficientdet.heads.anchor_head import ASSIGNERS
from efficientdet.heads.cell_head import CellHead, CellHeadPart, matched
from efficientdet.heads.head_interface import Candidates, Outputs, Size, flat_levels, map_sizes, priors_of
from efficientdet.heads.twin_towers import Prediction
from efficientdet.label_assignment.assignment import Assigner, Predicted, Priors, assign_batch, padded_objects
from efficientdet.types import IGNORED, GroundTruth, Tensor


@dataclass(frozen=True, kw_only=True)
class AnchorFreePart(CellHeadPart):
    """Configuration of an anchor-free head."""

    assigner: dict[str, Any] = field(default_factory=lambda: {"name": "sim_ota_assigner"})
    box_loss_weight: float = 5.0
    use_l1_loss: bool = False
    """Whether an L1 loss of the four encoded numbers is added, as in YOLOX's last epochs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = read_part("assigner", self.assigner, ASSIGNERS)

    def build(self, levels: range) -> "AnchorFreeHead":
        """Returns the head for the given pyramid levels."""
        return AnchorFreeHead(self, levels, name="head")


class AnchorFreeHead(CellHead):
    """One prediction per cell: class, object and box, encoded relative to the cell's corner in strides.

    The score of a class is sigmoid(class) * sigmoid(object).
    """

    def __init__(self, part: AnchorFreePart, levels: range, **options: Any) -> None:
        predictions = {
            "class": Prediction("class", part.num_classes, is_score=True),
            "box": Prediction("box", 4, is_score=False),
            "object": Prediction("box", 1, is_score=True),
        }
        super().__init__(part, levels, predictions, **options)
        self.part = part
        self.loss_names = ("class_loss", "box_loss", "object_loss", *(("l1_loss",) if part.use_l1_loss else ()))
        self.assigner: Assigner = read_part("assigner", part.assigner, ASSIGNERS)

    def cells(self, sizes: Mapping[int, Size], image_size: Size, *, offset: float) -> Priors:
        """Returns one box per cell with a side of one stride; offset 0 for encoding, 0.5 for label assignment."""
        strides = [np.divide(image_size, size) for size in sizes.values()]
        boxes = [
            cell_boxes(size, stride, stride[None], offset=offset)
            for size, stride in zip(sizes.values(), strides, strict=True)
        ]
        return priors_of(boxes, [float(stride.max()) for stride in strides])

    def decode(self, outputs: Outputs, image_size: Size) -> Candidates:
        """Returns the boxes and scores of all cells."""
        cells = self.cells(map_sizes(outputs["class"]), image_size, offset=0.0)
        boxes = decode_boxes(flat_levels(outputs["box"], 4), ops.convert_to_tensor(cells.boxes))
        scores = ops.sigmoid(flat_levels(outputs["class"], self.part.num_classes))
        return Candidates(boxes, scores * ops.sigmoid(flat_levels(outputs["object"], 1)))

    def losses(self, outputs: Outputs, truth: GroundTruth, image_size: Size) -> dict[str, Tensor]:
        """Returns "class_loss", "box_loss", "object_loss" and optionally "l1_loss"; sums divided by the positives."""
        sizes = map_sizes(outputs["class"])
        corner, middle = (self.cells(sizes, image_size, offset=offset) for offset in (0.0, 0.5))
        anchors = ops.convert_to_tensor(corner.boxes)
        logits, object_logits = flat_levels(outputs["class"], self.part.num_classes), flat_levels(outputs["object"], 1)
        deltas = flat_levels(outputs["box"], 4)
        boxes = decode_boxes(deltas, anchors)
        objects = padded_objects(truth)
        # The cost of an assignment uses the geometric mean of both scores.
        scores = ops.sqrt(ops.sigmoid(logits) * ops.sigmoid(object_logits) + 1e-12)
        assignment = assign_batch(self.assigner, middle, objects, Predicted(scores, boxes))
        target = matched(assignment, objects, self.part.num_classes)
        pair = BoxPair(deltas, encode_boxes(target.boxes, anchors), boxes, target.boxes)
        class_index = ops.where(target.is_positive, target.class_index, IGNORED)
        is_object = ops.cast(target.is_positive, "float32")
        counted = ops.cast(assignment.row != IGNORED, "float32")
        losses = {
            "class_loss": BinaryCrossEntropyLoss()(logits, class_index, assignment.quality),
            "box_loss": self.part.box_loss_weight * IouLoss(squared=True)(pair, target.is_positive),
            "object_loss": ops.sum(counted * binary_cross_entropy(object_logits[..., 0], is_object)),
        }
        if self.part.use_l1_loss:
            error = ops.sum(ops.abs(pair.deltas - pair.target_deltas), axis=-1)
            losses["l1_loss"] = ops.sum(ops.where(target.is_positive, error, 0.0))
        return {name: value / target.num_positives for name, value in losses.items()}
