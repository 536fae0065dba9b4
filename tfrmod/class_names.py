"""Class names of Pascal VOC, and detection of pairs of names that probably mean the same class."""

import difflib
import re
from collections.abc import Mapping
from itertools import combinations

from tfrmod.problems import Problem

_ALIKE = 0.88
_MAX_COMPARED = 500

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""Classes of the Pascal VOC challenges from 2007 on; ids from 1 follow their order."""


def spelling_problems(boxes_per_class: Mapping[str, int]) -> list[Problem]:
    """Returns a note for each pair of names that differ only in case, spaces, punctuation, a plural or a letter.

    Names that differ only in digits (plate1, plate2) are taken for different classes.

    Args:
      boxes_per_class: objects of each name; the rarer name is taken for the misspelled one.
    """
    names = sorted(boxes_per_class)[:_MAX_COMPARED]  # The number of pairs is quadratic.
    problems = []
    for one, other in combinations(names, 2):
        if _is_alike(one, other):
            rare, frequent = sorted((one, other), key=lambda name: (boxes_per_class[name], name))
            message = f"{boxes_per_class[rare]} objects, {boxes_per_class[frequent]} of {frequent!r}: one class?"
            problems.append(Problem("class_spelling", rare, message))
    return problems


def _is_alike(one: str, other: str) -> bool:
    plain, plain_other = (re.sub(r"[\W_]+", "", name).casefold() for name in (one, other))
    if plain == plain_other:
        return True
    if re.sub(r"\d", "", plain) == re.sub(r"\d", "", plain_other):
        return False
    if plain in (f"{plain_other}s", f"{plain_other}es") or plain_other in (f"{plain}s", f"{plain}es"):
        return True
    matcher = difflib.SequenceMatcher(a=plain, b=plain_other, autojunk=False)
    return matcher.real_quick_ratio() >= _ALIKE and matcher.ratio() >= _ALIKE
