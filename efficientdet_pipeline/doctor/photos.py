"""What is wrong with photos: there twice, too small, too large, too long."""

from collections import defaultdict
from typing import Any

import numpy as np

from efficientdet_pipeline.doctor.catalogue import found
from efficientdet_pipeline.doctor.facts import Facts, Plan, Seen
from efficientdet_pipeline.doctor.findings import Finding

_SMALL = 0.5
_LARGE = 4.0
_LONG = 3.0


def check(facts: Facts, plan: Plan) -> list[Finding | None]:
    """Returns what is wrong with the photos of a data set; copies across splits are `splits`'s."""
    return [*_copies(facts), *_sizes(facts, plan)]


def _copies(facts: Facts) -> list[Finding | None]:
    """Returns copies within a split."""
    equal = _within_splits(facts, facts.equal_groups)
    alike = _within_splits(facts, facts.alike_groups)
    twice = [(first, copy) for first, *copies in equal for copy in copies]
    disagreeing = [pair for pair in twice if not _agree(*(facts.photos[photo] for photo in pair))]
    equal_copies = {copy for _, copy in twice}
    look = [(first, copy) for first, *copies in alike for copy in copies if copy not in equal_copies]
    total = len(facts.photos)

    def named(pairs: list[tuple[int, int]]) -> list[str]:
        return [f"{facts.file(copy)} (= {facts.file(first)})" for first, copy in pairs]

    return [
        found("photo_twice", count=len(twice), of=total, files=named(twice)),
        found("twins_disagree", count=len(disagreeing), of=total, files=named(disagreeing)),
        found(
            "photo_alike",
            count=len(look),
            of=total,
            files=[f"{facts.file(copy)} (like {facts.file(first)})" for first, copy in look],
        ),
    ]


def _within_splits(facts: Facts, groups: list[list[int]]) -> list[list[int]]:
    parts: list[list[int]] = []
    for group in groups:
        by_split: dict[str, list[int]] = defaultdict(list)
        for photo in group:
            by_split[facts.split_of[photo]].append(photo)
        parts += [part for part in by_split.values() if len(part) > 1]
    return parts


def _agree(one: Seen, other: Seen) -> bool:
    """Returns whether two photos have the same boxes, to a pixel."""
    first, second = (
        sorted((thing.name, tuple(round(side) for side in thing.box)) for thing in seen.image.objects)
        for seen in (one, other)
    )
    return len(first) == len(second) and all(
        name == other_name and max(abs(a - b) for a, b in zip(box, other_box, strict=True)) <= 1
        for (name, box), (other_name, other_box) in zip(first, second, strict=True)
    )


def _sizes(facts: Facts, plan: Plan) -> list[Finding | None]:
    sizes = facts.boxes.sizes
    if not len(sizes):
        return []
    height, width = plan.canvas
    canvas = f"the canvas is {width}x{height}"
    scales = facts.boxes.scales(plan.canvas)
    long = sizes.max(axis=1) / np.maximum(sizes.min(axis=1), 1)

    def reported(code: str, measure: np.ndarray, limit: float, **said: Any) -> Finding | None:
        struck = np.flatnonzero(measure > limit)
        struck = struck[np.argsort(-measure[struck], kind="stable")]
        files = [f"{facts.file(photo)} ({sizes[photo, 1]:.0f}x{sizes[photo, 0]:.0f})" for photo in struck.tolist()]
        return found(code, count=len(struck), of=len(sizes), files=files, **said)

    return [
        reported("photo_small", scales, 1 / _SMALL, detail=f"In pixels; {canvas}."),
        reported("photo_large", 1 / scales, _LARGE, detail=f"In pixels; {canvas}.", size=str(2 * max(plan.canvas))),
        reported("photo_long", long, _LONG),
    ]
