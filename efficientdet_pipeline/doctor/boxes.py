"""Checks of bounding boxes: too small, too large, duplicated, too many per image."""

from collections.abc import Iterator

import numpy as np

from efficientdet_pipeline.doctor.dataset_stats import DatasetStats, Plan
from efficientdet_pipeline.doctor.issue import Issue, Severity
from efficientdet_pipeline.doctor.issue_types import make_issue
from tfrmod.counted import counted

_GIANT = 0.95
_SAME = 0.95
_FEW_TINY = 0.02
"""Share of tiny boxes below which they are only a note."""
LARGEST_CANVAS = 1536
"""Largest canvas side in px that a remedy suggests: that of D7, the largest published network."""
_PERCENT_BOXES = 20
"""Fewest boxes from which the unit of the coordinates is judged."""
_PERCENT_SIDE = 300
"""Shortest side of the median image in px for which boxes that all end before pixel 100 are not chance."""
MOST_ENLARGED = 2
"""Largest suggested canvas, as a multiple of the network's own."""


def check(stats: DatasetStats, plan: Plan) -> list[Issue | None]:
    """Returns the issues with the boxes of a data set, for a network of this plan."""
    doubled, two_classes = duplicate_boxes(stats)
    return [
        _tiny(stats, plan),
        _giant(stats),
        make_issue("box_twice", count=len(doubled), of=len(stats.boxes.name), files=named_boxes(stats, doubled)),
        make_issue(
            "box_two_classes", count=len(two_classes), of=len(stats.boxes.name), files=named_boxes(stats, two_classes)
        ),
        *_crowded(stats, plan),
        _percent(stats),
    ]


def _tiny(stats: DatasetStats, plan: Plan) -> Issue | None:
    boxes = stats.boxes
    cell = 2**plan.grid.min_level
    sides = np.sqrt(np.prod(boxes.sides * boxes.scales(plan)[boxes.image_index], axis=1))
    tiny = np.flatnonzero(sides < cell)
    if not len(tiny):
        return None
    factor = cell / max(float(np.quantile(sides[tiny], 0.1)), 1e-3)
    height, width = (int(np.ceil(side * factor / 128) * 128) for side in plan.canvas)
    size = f"{width}" if width == height else f"{width}x{height}"
    # Each network is designed for a range of canvas sizes: far beyond it, memory and anchors no longer fit.
    fits = max(height, width) <= min(LARGEST_CANVAS, MOST_ENLARGED * max(plan.canvas))
    advice = (
        f"--image_size={size} makes nine in ten of them larger than that"
        if fits
        else f"Cut the images into tiles: they would need a canvas of {size} px, too large for this network"
    )
    return make_issue(
        "box_tiny",
        count=len(tiny),
        of=len(sides),
        files=named_boxes(stats, tiny[np.argsort(sides[tiny], kind="stable")]),
        detail=f"At {size_text(plan.canvas)} their median side is {np.median(sides[tiny]):.1f} px, a cell {cell} px. "
        f"{_shares(stats, tiny)}",
        remedy=advice,
        severity=None if len(tiny) >= _FEW_TINY * len(sides) else Severity.NOTE,
        median_side=round(float(np.median(sides[tiny])), 2),
        cell=cell,
    )


def _giant(stats: DatasetStats) -> Issue | None:
    boxes = stats.boxes
    covered = np.prod(boxes.sides / boxes.sizes[boxes.image_index], axis=1)
    giant = np.flatnonzero(covered > _GIANT)
    return make_issue(
        "box_giant", count=len(giant), of=len(covered), files=named_boxes(stats, giant), detail=_shares(stats, giant)
    )


def duplicate_boxes(stats: DatasetStats) -> tuple[list[int], list[int]]:
    """Returns the later box of each nearly equal pair: of pairs of one class, and of pairs of two classes."""
    boxes = stats.boxes
    same: list[int] = []
    other: list[int] = []
    for later, earlier in _pairs(stats):
        same += [later] if boxes.name[later] == boxes.name[earlier] else []
        other += [later] if boxes.name[later] != boxes.name[earlier] else []
    return sorted(set(same)), sorted(set(other))


def _pairs(stats: DatasetStats) -> Iterator[tuple[int, int]]:
    """Yields (later, earlier) boxes of one image whose overlap is `_SAME` or more.

    Such boxes have nearly equal top edges, so after sorting by top edge only neighbours are compared.
    """
    boxes = stats.boxes
    corners, heights = boxes.corners, boxes.sides[:, 0]
    order = np.lexsort((corners[:, 0], boxes.image_index))
    step = np.arange(len(order))
    for distance in range(1, len(order)):
        step = step[step + distance < len(order)]
        one, two = order[step], order[step + distance]
        # Heights may differ by as much: this tolerance keeps a box between two equal ones from ending the search.
        reach = (1 - _SAME) / _SAME * np.maximum(heights[one], heights[two])
        near = (boxes.image_index[one] == boxes.image_index[two]) & (corners[two, 0] - corners[one, 0] <= reach)
        step, one, two = step[near], one[near], two[near]
        if not len(step):
            return
        alike = overlaps(corners[one], corners[two]) >= _SAME
        yield from zip(np.maximum(one, two)[alike].tolist(), np.minimum(one, two)[alike].tolist(), strict=True)


def overlaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns the IoU of each pair of boxes, (…, 4) each; shapes broadcast."""
    corner = np.maximum(one[..., :2], other[..., :2])
    sides = np.maximum(np.minimum(one[..., 2:], other[..., 2:]) - corner, 0.0)
    shared = np.prod(sides, axis=-1)
    areas = [np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1) for boxes in (one, other)]
    return shared / np.maximum(areas[0] + areas[1] - shared, 1e-12)


def _crowded(stats: DatasetStats, plan: Plan) -> list[Issue | None]:
    counts = np.bincount(stats.boxes.image_index, minlength=len(stats.images))
    issues = []
    limits = {"crowded": plan.max_instances, "crowded_detections": plan.max_detections}
    for code, limit in limits.items():
        crowded = np.flatnonzero(counts > limit) if limit else np.zeros(0, int)
        crowded = crowded[np.argsort(-counts[crowded], kind="stable")]
        most = int(counts.max(initial=0))
        issues.append(
            make_issue(
                code,
                count=len(crowded),
                of=len(counts),
                files=[f"{stats.file(index)} ({counted(counts[index], 'box')})" for index in crowded.tolist()],
                detail=f"Up to {counted(most, 'box')}, where {limit} are kept.",
                most=most,
                limit=limit,
            )
        )
    return issues


def _percent(stats: DatasetStats) -> Issue | None:
    """Returns an issue where boxes appear to be percentages that were read as pixels.

    A single image does not show it, since a box of 20 to 80 is possible in any image; all boxes together do.
    """
    boxes = stats.boxes
    count, furthest = len(boxes.name), float(boxes.corners.max(initial=0.0))
    if count < _PERCENT_BOXES or not 50 < furthest <= 100 or np.median(boxes.sizes.min(axis=1)) < _PERCENT_SIDE:
        return None
    height, width = np.median(boxes.sizes, axis=0).astype(int).tolist()
    return make_issue(
        "boxes_percent",
        count=count,
        of=count,
        files=named_boxes(stats, np.arange(count)),
        detail=f"No box ends beyond pixel {furthest:g}, where the median image is {width}x{height} px.",
    )


def _shares(stats: DatasetStats, chosen: np.ndarray) -> str:
    """Returns the classes of the chosen boxes with counts, the most frequent first, as text."""
    counts = np.bincount(stats.boxes.name[chosen], minlength=len(stats.boxes.names))
    all_counts = stats.boxes_per_class()
    first = np.argsort(-counts, kind="stable")[:4]
    names = [stats.boxes.names[index] for index in first if counts[index]]
    return ", ".join(f"{name} {counts[stats.boxes.names.index(name)]} of {all_counts[name]}" for name in names)


def named_boxes(stats: DatasetStats, chosen: np.ndarray | list[int]) -> list[str]:
    """Returns the images of the chosen boxes, each with its first box (x0 y0 x1 y1, as in annotations)."""
    boxes = stats.boxes
    boxes_of_image: dict[int, list[int]] = {}
    for index in np.asarray(chosen, int).tolist():
        boxes_of_image.setdefault(int(boxes.image_index[index]), []).append(index)
    named = []
    for image_index, (first, *others) in boxes_of_image.items():
        y0, x0, y1, x1 = boxes.corners[first]
        more = f", {len(others)} more" if others else ""
        named.append(
            f"{stats.file(image_index)} ({boxes.names[boxes.name[first]]} {x0:.0f} {y0:.0f} {x1:.0f} {y1:.0f}{more})"
        )
    return named


def size_text(canvas: tuple[int, int]) -> str:
    """Returns width x height as text."""
    height, width = canvas
    return f"{width} px" if height == width else f"{width} x {height} px"
