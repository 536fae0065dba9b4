"""Runs every dataset check and collects the issues."""

from collections import defaultdict
from typing import Any

import numpy as np

from efficientdet_pipeline.doctor import anchor_coverage, boxes, classes
from efficientdet_pipeline.doctor.dataset_stats import DatasetStats, Plan, Seen
from efficientdet_pipeline.doctor.issue import Issue, ranked
from efficientdet_pipeline.doctor.issue_types import issue, unit_of
from tfrmod.problems import Problem

_SMALL = 0.5
_LARGE = 4.0
_LONG = 3.0


def check_images(facts: DatasetStats, plan: Plan) -> list[Issue | None]:
    """Returns what is wrong with the photos of a data set; copies across splits are `splits`'s."""
    return [*_copies(facts), *_sizes(facts, plan)]


def _copies(facts: DatasetStats) -> list[Issue | None]:
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
        issue("photo_twice", count=len(twice), of=total, files=named(twice)),
        issue("twins_disagree", count=len(disagreeing), of=total, files=named(disagreeing)),
        issue(
            "photo_alike",
            count=len(look),
            of=total,
            files=[f"{facts.file(copy)} (like {facts.file(first)})" for first, copy in look],
        ),
    ]


def _within_splits(facts: DatasetStats, groups: list[list[int]]) -> list[list[int]]:
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


def _sizes(facts: DatasetStats, plan: Plan) -> list[Issue | None]:
    sizes = facts.boxes.sizes
    if not len(sizes):
        return []
    height, width = plan.canvas
    canvas = f"the canvas is {width}x{height}"
    scales = facts.boxes.scales(plan.canvas)
    long = sizes.max(axis=1) / np.maximum(sizes.min(axis=1), 1)

    def reported(code: str, measure: np.ndarray, limit: float, **said: Any) -> Issue | None:
        struck = np.flatnonzero(measure > limit)
        struck = struck[np.argsort(-measure[struck], kind="stable")]
        files = [f"{facts.file(photo)} ({sizes[photo, 1]:.0f}x{sizes[photo, 0]:.0f})" for photo in struck.tolist()]
        return issue(code, count=len(struck), of=len(sizes), files=files, **said)

    return [
        reported("photo_small", scales, 1 / _SMALL, detail=f"In pixels; {canvas}."),
        reported("photo_large", 1 / scales, _LARGE, detail=f"In pixels; {canvas}.", size=str(2 * max(plan.canvas))),
        reported("photo_long", long, _LONG),
    ]


_FEW = 20


def check_splits(facts: DatasetStats, plan: Plan) -> list[Issue | None]:
    """Returns what is wrong with the splits of a data set."""
    num_val = len(facts.splits.get("val", ()))
    equal, alike = _leaks(facts, facts.equal_groups), _leaks(facts, facts.alike_groups)
    alike = {photo: twin for photo, twin in alike.items() if photo not in equal}
    is_small = plan.validates and num_val < _FEW and not facts.is_sample
    return [
        issue("leak", count=len(equal), of=num_val, files=_named(facts, equal, "=")),
        issue("leak_alike", count=len(alike), of=num_val, files=_named(facts, alike, "like")),
        # Counted is what is there: at least one, for a finding counts something.
        issue(
            "val_small",
            count=max(1, num_val) if is_small else 0,
            detail="" if num_val else "There is none.",
        ),
    ]


def _leaks(facts: DatasetStats, groups: list[list[int]]) -> dict[int, int]:
    """Returns {validation photo: training photo of the same group}."""
    leaks = {}
    for group in groups:
        train = [photo for photo in group if facts.split_of[photo] == "train"]
        for photo in group if train else ():
            if facts.split_of[photo] in ("val", "test"):
                leaks[photo] = train[0]
    return leaks


def _named(facts: DatasetStats, leaks: dict[int, int], word: str) -> list[str]:
    return [f"{facts.file(photo)} ({word} {facts.file(twin)})" for photo, twin in leaks.items()]


_DROPPED = ("box_empty", "object_unreadable", "class_not_in_label_map")
"""Boxes with such a problem are no boxes of the data set any more, and are counted beside them."""


def validate_dataset(facts: DatasetStats, plan: Plan) -> list[Issue]:
    """Returns everything that is wrong with a data set, for a training of this plan; the most harmful first."""
    checks = (boxes.check, anchor_coverage.check, classes.check, check_images, check_splits)
    return ranked([*of_problems(facts), *(each for check in checks for each in check(facts, plan))])


def of_problems(facts: DatasetStats) -> list[Issue | None]:
    """Returns what the mill found wrong, one finding a code."""
    by_code: dict[str, list[Problem]] = defaultdict(list)
    for problem in facts.problems:
        by_code[problem.code].append(problem)
    return [_of_problem(code, problems, facts) for code, problems in by_code.items()]


def _of_problem(code: str, problems: list[Problem], facts: DatasetStats) -> Issue | None:
    total = facts.num_files
    unit = unit_of(code)
    if unit == "boxes":
        total = len(facts.boxes.name) + (len(problems) if code in _DROPPED else 0)
    elif unit == "classes" or code == "class_spelling":
        total = len(facts.boxes.names)
    files = [f"{problem.file} ({problem.message})" if problem.message else problem.file for problem in problems]
    values: dict[str, Any] = {}
    if code == "class_spelling":
        values["aliases"] = ",".join(_alias(problem) for problem in problems)
    return issue(code, count=len(problems), of=total, files=files, **values)


def _alias(problem: Problem) -> str:
    """Returns wrong=right from the mill's sentence "3 objects, 300 of 'cat': one class?"."""
    right = problem.message.partition(" of '")[2].partition("'")[0]
    return f"{problem.file}={right}"
