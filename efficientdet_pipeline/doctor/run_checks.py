"""Runs every dataset check and collects the issues."""

from collections import defaultdict
from typing import Any

import numpy as np

from efficientdet_pipeline.doctor import anchor_coverage, boxes, classes
from efficientdet_pipeline.doctor.dataset_stats import DatasetStats, ImageStats, Plan
from efficientdet_pipeline.doctor.issue import Issue, rank_issues
from efficientdet_pipeline.doctor.issue_types import make_issue, unit_of
from tfrmod.problems import Problem

_SMALL = 0.5
_LARGE = 4.0
_LONG = 3.0


def check_images(stats: DatasetStats, plan: Plan) -> list[Issue | None]:
    """Returns the issues with the images of a data set; for copies across splits see `check_splits`."""
    return [*_copies(stats), *_sizes(stats, plan)]


def _copies(stats: DatasetStats) -> list[Issue | None]:
    """Returns copies within a split."""
    equal = _within_splits(stats, stats.equal_groups)
    alike = _within_splits(stats, stats.alike_groups)
    twice = [(first, copy) for first, *copies in equal for copy in copies]
    disagreeing = [pair for pair in twice if not _agree(*(stats.images[index] for index in pair))]
    equal_copies = {copy for _, copy in twice}
    similar = [(first, copy) for first, *copies in alike for copy in copies if copy not in equal_copies]
    total = len(stats.images)

    def named(pairs: list[tuple[int, int]]) -> list[str]:
        return [f"{stats.file(copy)} (= {stats.file(first)})" for first, copy in pairs]

    return [
        make_issue("photo_twice", count=len(twice), of=total, files=named(twice)),
        make_issue("twins_disagree", count=len(disagreeing), of=total, files=named(disagreeing)),
        make_issue(
            "photo_alike",
            count=len(similar),
            of=total,
            files=[f"{stats.file(copy)} (like {stats.file(first)})" for first, copy in similar],
        ),
    ]


def _within_splits(stats: DatasetStats, groups: list[list[int]]) -> list[list[int]]:
    parts: list[list[int]] = []
    for group in groups:
        by_split: dict[str, list[int]] = defaultdict(list)
        for index in group:
            by_split[stats.split_of[index]].append(index)
        parts += [part for part in by_split.values() if len(part) > 1]
    return parts


def _agree(one: ImageStats, other: ImageStats) -> bool:
    """Returns whether two images have the same boxes, to a pixel."""
    first, second = (
        sorted((obj.name, tuple(round(side) for side in obj.box)) for obj in seen.image.objects)
        for seen in (one, other)
    )
    return len(first) == len(second) and all(
        name == other_name and max(abs(a - b) for a, b in zip(box, other_box, strict=True)) <= 1
        for (name, box), (other_name, other_box) in zip(first, second, strict=True)
    )


def _sizes(stats: DatasetStats, plan: Plan) -> list[Issue | None]:
    sizes = stats.boxes.sizes
    if not len(sizes):
        return []
    height, width = plan.canvas
    canvas = f"the canvas is {width}x{height}"
    # Of a stretched image, the side that is enlarged or reduced most.
    scales = stats.boxes.scales(plan)
    long = sizes.max(axis=1) / np.maximum(sizes.min(axis=1), 1)

    def size_issue(code: str, measure: np.ndarray, limit: float, **values: Any) -> Issue | None:
        indices = np.flatnonzero(measure > limit)
        indices = indices[np.argsort(-measure[indices], kind="stable")]
        files = [f"{stats.file(index)} ({sizes[index, 1]:.0f}x{sizes[index, 0]:.0f})" for index in indices.tolist()]
        return make_issue(code, count=len(indices), of=len(sizes), files=files, **values)

    return [
        size_issue("photo_small", scales.max(axis=1), 1 / _SMALL, detail=f"By sides in pixels; {canvas}."),
        size_issue(
            "photo_large",
            1 / scales.min(axis=1),
            _LARGE,
            detail=f"By sides in pixels; {canvas}.",
            size=str(2 * max(plan.canvas)),
        ),
        size_issue("photo_long", long, _LONG, detail=_STRETCHED if plan.resize == "stretch" else ""),
    ]


_STRETCHED = "With --resize=stretch there is no padding, but the objects are distorted."
_FEW = 20


def check_splits(stats: DatasetStats, plan: Plan) -> list[Issue | None]:
    """Returns the issues with the splits of a data set."""
    num_val = len(stats.splits.get("val", ()))
    equal, alike = _leaks(stats, stats.equal_groups), _leaks(stats, stats.alike_groups)
    alike = {index: duplicate for index, duplicate in alike.items() if index not in equal}
    is_small = plan.validates and num_val < _FEW and not stats.is_sample
    return [
        make_issue("leak", count=len(equal), of=num_val, files=_named(stats, equal, "=")),
        make_issue("leak_alike", count=len(alike), of=num_val, files=_named(stats, alike, "like")),
        # At least one is counted, because an issue always counts something.
        make_issue(
            "val_small",
            count=max(1, num_val) if is_small else 0,
            detail="" if num_val else "There is none.",
        ),
    ]


def _leaks(stats: DatasetStats, groups: list[list[int]]) -> dict[int, int]:
    """Returns {validation image: training image of the same group}."""
    leaks = {}
    for group in groups:
        train = [index for index in group if stats.split_of[index] == "train"]
        for index in group if train else ():
            if stats.split_of[index] in ("val", "test"):
                leaks[index] = train[0]
    return leaks


def _named(stats: DatasetStats, leaks: dict[int, int], word: str) -> list[str]:
    return [f"{stats.file(index)} ({word} {stats.file(duplicate)})" for index, duplicate in leaks.items()]


_DROPPED = ("box_empty", "object_unreadable", "class_not_in_label_map")
"""Boxes with such a problem are not among the boxes of the data set, and are counted in addition."""


def validate_dataset(stats: DatasetStats, plan: Plan) -> list[Issue]:
    """Returns all issues of a data set, for a training of this plan; the most harmful first."""
    checks = (boxes.check, anchor_coverage.check, classes.check, check_images, check_splits)
    return rank_issues([*conversion_issues(stats), *(each for check in checks for each in check(stats, plan))])


def conversion_issues(stats: DatasetStats) -> list[Issue | None]:
    """Returns the issues that the conversion found, one per code."""
    by_code: dict[str, list[Problem]] = defaultdict(list)
    for problem in stats.problems:
        by_code[problem.code].append(problem)
    return [_conversion_issue(code, problems, stats) for code, problems in by_code.items()]


def _conversion_issue(code: str, problems: list[Problem], stats: DatasetStats) -> Issue | None:
    total = stats.num_files
    unit = unit_of(code)
    if unit == "boxes":
        total = len(stats.boxes.name) + (len(problems) if code in _DROPPED else 0)
    elif unit == "classes" or code == "class_spelling":
        total = len(stats.boxes.names)
    files = [f"{problem.file} ({problem.message})" if problem.message else problem.file for problem in problems]
    values: dict[str, Any] = {}
    if code == "class_spelling":
        values["aliases"] = ",".join(_alias(problem) for problem in problems)
    return make_issue(code, count=len(problems), of=total, files=files, **values)


def _alias(problem: Problem) -> str:
    """Returns wrong=right from the conversion's message "3 objects, 300 of 'cat': one class?"."""
    right = problem.message.partition(" of '")[2].partition("'")[0]
    return f"{problem.file}={right}"
