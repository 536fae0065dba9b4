"""All that the doctor looks at, in one list."""

from collections import defaultdict
from typing import Any

from efficientdet_pipeline.doctor import boxes, classes, photos, splits, unmatched
from efficientdet_pipeline.doctor.catalogue import found, unit_of
from efficientdet_pipeline.doctor.facts import Facts, Plan
from efficientdet_pipeline.doctor.findings import Finding, ranked
from tfrmod.checks import Problem

_DROPPED = ("box_empty", "object_unreadable", "class_not_in_label_map")
"""Boxes with such a problem are no boxes of the data set any more, and are counted beside them."""


def examined(facts: Facts, plan: Plan) -> list[Finding]:
    """Returns everything that is wrong with a data set, for a training of this plan; the most harmful first."""
    pages = (boxes, unmatched, classes, photos, splits)
    return ranked([*of_problems(facts), *(each for page in pages for each in page.check(facts, plan))])


def of_problems(facts: Facts) -> list[Finding | None]:
    """Returns what the mill found wrong, one finding a code."""
    by_code: dict[str, list[Problem]] = defaultdict(list)
    for problem in facts.problems:
        by_code[problem.code].append(problem)
    return [_of_problem(code, problems, facts) for code, problems in by_code.items()]


def _of_problem(code: str, problems: list[Problem], facts: Facts) -> Finding | None:
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
    return found(code, count=len(problems), of=total, files=files, **values)


def _alias(problem: Problem) -> str:
    """Returns wrong=right from the mill's sentence "3 objects, 300 of 'cat': one class?"."""
    right = problem.message.partition(" of '")[2].partition("'")[0]
    return f"{problem.file}={right}"
