"""Scan of training batches for non-finite values and invalid boxes."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from efficientdet.anchors import anchor_boxes
from efficientdet.assigners import assign_targets
from efficientdet.config import DetectorConfig
from efficientdet.types import GroundTruth, Tensor, TensorTree

from tfrmod.counted import counted

MAX_LISTED = 100


class NanFinding(NamedTuple):
    """A problem of one image in a batch."""

    batch: int
    row: int
    what: str


@dataclass
class NanScan:
    """Result of a scan. Its `str` is a short summary."""

    num_images: int = 0
    num_boxes: int = 0
    num_without_boxes: int = 0
    """Images without boxes: their targets are background only."""
    num_findings: int = 0
    findings: list[NanFinding] = field(default_factory=list)
    """The first hundred findings."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not self.num_findings

    def __str__(self) -> str:
        images, boxes = counted(self.num_images, "image"), counted(self.num_boxes, "box")
        seen = f"{images}, {boxes}, {counted(self.num_without_boxes, 'image')} without a box"
        if self.is_clean:
            return f"{seen}: every number is finite."
        first = "; ".join(f"batch {batch}, image {row}: {what}" for batch, row, what in self.findings[:5])
        return f"{seen}: {counted(self.num_findings, 'finding')}, {first}."

    def add(self, batch: int, row: int, what: str) -> None:
        """Adds a finding."""
        self.num_findings += 1
        if len(self.findings) < MAX_LISTED:
            self.findings.append(NanFinding(batch, row, what))


def scan_for_nan(
    batches: Iterable[tuple[Tensor, TensorTree]], config: DetectorConfig, *, max_batches: int | None = None
) -> NanScan:
    """Returns the non-finite values in images, boxes, and the targets assigned to anchors.

    Args:
      batches: (images, GroundTruth), as in training; endless ones need `max_batches`.
      config: of the network whose anchors are matched.
      max_batches: number of batches to scan; None: all.
    """
    scan, anchors = NanScan(), anchor_boxes(config)
    for number, (images, given) in enumerate(batches):
        if max_batches is not None and number >= max_batches:
            break
        truth = GroundTruth(*map(np.asarray, given))
        targets = assign_targets(anchors, truth)
        target_boxes = np.asarray(targets.boxes)
        for row, image in enumerate(np.asarray(images)):
            is_box = truth.class_ids[row] > 0
            boxes = truth.boxes[row][is_box]
            scan.num_images += 1
            scan.num_boxes += len(boxes)
            scan.num_without_boxes += not len(boxes)
            checks = {
                "the image contains NaN or infinity": not np.isfinite(image).all(),
                "a box contains NaN or infinity": not np.isfinite(boxes).all(),
                "a box has no area": bool((boxes[:, 2:] <= boxes[:, :2]).any()),
                f"a class id is above {config.num_classes}": bool((truth.class_ids[row] > config.num_classes).any()),
                "a target contains NaN or infinity": not np.isfinite(target_boxes[row]).all(),
            }
            for what, is_wrong in checks.items():
                if is_wrong:
                    scan.add(number, row, what)
    return scan
