"""Anchor coverage: boxes that match no anchor, and the anchors or canvas that would match them. n: boxes."""

import shlex
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from efficientdet_pipeline.doctor.boxes import LARGEST_CANVAS, named_boxes, size_text
from efficientdet_pipeline.doctor.dataset_stats import DatasetStats, Plan
from efficientdet_pipeline.doctor.issue import Issue
from efficientdet_pipeline.doctor.issue_types import make_issue
from efficientdet_pipeline.models import anchor_fit

_WELL_MATCHED = 0.98
_CLASS_WELL_MATCHED = 0.9
_FEW_BOXES = 10
_GOOD_ENOUGH = 0.9
_WORTH = 0.005
"""Increase of recall from which a remedy is suggested."""


class Remedy(NamedTuple):
    """Flags that raise the recall of the anchors, and the recall with them."""

    flags: str
    recall: float


def check(stats: DatasetStats, plan: Plan) -> list[Issue | None]:
    """Returns an issue with the boxes that match no anchor, unless they are few."""
    if not plan.has_own_anchors:
        return []
    boxes = stats.boxes
    on_canvas = boxes.on_canvas(plan)
    real = np.flatnonzero(np.all(on_canvas[:, 2:] > on_canvas[:, :2], axis=1) & ~boxes.is_crowd)
    if not len(real):
        return []
    on_canvas = on_canvas[real]
    best = anchor_fit.best_overlaps(plan.grid, on_canvas)
    is_matched = best >= anchor_fit.MATCHED
    recall, recalls = float(is_matched.mean()), _per_class(stats, real, is_matched)
    counts = stats.boxes_per_class()
    badly = [name for name, share in recalls.items() if share < _CLASS_WELL_MATCHED and counts[name] >= _FEW_BOXES]
    if recall >= _WELL_MATCHED and not badly:
        return []
    remedies = _remedies(plan.grid, on_canvas, anchor_fit.class_weights(boxes.name[real]), recall)
    bound = anchor_fit.best_shape_overlaps(plan.grid, on_canvas)
    worst = sorted(recalls.items(), key=lambda item: item[1])
    shares = ", ".join(f"{name} {share:.0%}" for name, share in worst[:5])
    text = ",".join(f"\n  {remedy.recall:.1%} by {remedy.flags}" for remedy in remedies)
    return [
        make_issue(
            "anchors_unmatched",
            count=int(np.sum(~is_matched)),
            of=len(real),
            files=named_boxes(stats, real[np.argsort(best, kind="stable")][: np.sum(~is_matched)]),
            detail=f"Matched at {size_text(plan.canvas)}: {shares}{' …' if len(worst) > 5 else ''}.",
            remedy=f"{recall:.1%} of the boxes are matched now:{text}" if remedies else None,
            recall=round(recall, 4),
            recall_of_shapes=round(float(np.mean(bound >= anchor_fit.MATCHED)), 4),
            mean_overlap=round(float(best.mean()), 4),
            recall_per_class=recalls,
            remedies=[{"flags": remedy.flags, "recall": round(remedy.recall, 4)} for remedy in remedies],
        )
    ]


def _per_class(stats: DatasetStats, real: np.ndarray, is_matched: np.ndarray) -> dict[str, float]:
    names = stats.boxes.name[real]
    counts = np.bincount(names, minlength=len(stats.boxes.names))
    hits = np.bincount(names, is_matched, minlength=len(stats.boxes.names))
    shares = zip(stats.boxes.names, hits, counts, strict=True)
    return {name: round(float(hit / count), 4) for name, hit, count in shares if count}


def _remedies(grid: anchor_fit.AnchorGrid, boxes: np.ndarray, weights: np.ndarray, recall: float) -> list[Remedy]:
    """Returns the remedies, the cheapest first."""
    fit = anchor_fit.fit_anchors(grid, boxes, weights)
    remedies = [Remedy(_flags(fit, grid), anchor_fit.recall(fit, boxes))]
    height, width = (2 * side for side in grid.image_size)
    if max(height, width) <= LARGEST_CANVAS:
        larger = replace(grid, image_size=(height, width))
        remedies.append(Remedy(_flags(larger, grid), anchor_fit.recall(larger, 2 * boxes)))
        if max(remedy.recall for remedy in remedies) < _GOOD_ENOUGH:
            both = anchor_fit.fit_anchors(larger, 2 * boxes, weights)
            remedies.append(Remedy(_flags(both, grid), anchor_fit.recall(both, 2 * boxes)))
    return [remedy for remedy in remedies if remedy.recall > recall + _WORTH]


def _flags(new: anchor_fit.AnchorGrid, old: anchor_fit.AnchorGrid) -> str:
    """Returns the flags that select a grid, quoted for a shell; they merge with other --hparams."""
    flags = []
    if new.image_size != old.image_size:
        height, width = new.image_size
        flags.append(f"--image_size={width}" if width == height else f"--image_size={width}x{height}")
    if hparams := anchor_fit.as_hparams(new, old):
        flags.append(f"--hparams={shlex.quote(hparams)}")
    return " ".join(flags)
