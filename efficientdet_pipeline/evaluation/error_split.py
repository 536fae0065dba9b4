"""Error analysis by TIDE: the loss of AP50 due to each error type (Bolya et al., ECCV 2020).

The cost of an error type is the increase of AP50 if only its errors were corrected. TIDE counts a class that is
detected but not in the ground truth with AP 0, so its AP50 may be below COCO's.

n: ground-truth boxes, d: detections, e: errors, of one image or of all.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np

from efficientdet_pipeline.evaluation.instances import Instances, iou_xywh
from efficientdet_pipeline.evaluation.matching import MAX_DETECTIONS, NOTHING

FOREGROUND_IOU: Final = 0.5
BACKGROUND_IOU: Final = 0.1


class ErrorKind(StrEnum):
    """Reason why a detection is wrong, or an object not found."""

    CLASSIFICATION = "classification"
    LOCALIZATION = "localization"
    BOTH = "both"
    DUPLICATE = "duplicate"
    BACKGROUND = "background"
    MISSED = "missed"


KINDS: Final = tuple(ErrorKind)
DESCRIPTIONS: Final[Mapping[ErrorKind, str]] = {
    ErrorKind.CLASSIFICATION: "on an object (IoU 0.5 or more), but of another class",
    ErrorKind.LOCALIZATION: "correct class, but inaccurate box (IoU 0.1 to 0.5)",
    ErrorKind.BOTH: "another class, and inaccurate box",
    ErrorKind.DUPLICATE: "on an object that a better detection already matches",
    ErrorKind.BACKGROUND: "on no object (IoU 0.1 or less)",
    ErrorKind.MISSED: "an object without a nearby detection",
}


class Errors(NamedTuple):
    """All errors: for each image its wrong detections, best first, then its missed objects."""

    kinds: np.ndarray
    """(e,) indices in `KINDS`."""
    found: np.ndarray
    """(e,) indices of detections; -1 for a missed object."""
    truth: np.ndarray
    """(e,) indices of the nearest or missed objects; -1 for background."""
    is_ignored: np.ndarray
    """(e,) whether the detection lies in a crowd, and is ignored unless corrected."""


@dataclass(frozen=True)
class ErrorSplit:
    """AP50 and the cost of each error type, in points (0 to 100)."""

    ap50: float
    """As TIDE computes it, over all classes in the ground truth or the detections."""
    costs: Mapping[ErrorKind, float]
    false_positives: float
    """Increase of AP50 without false positives: all wrong detections ranked below all correct ones."""
    false_negatives: float
    """Increase of AP50 without false negatives: objects that were not found do not count."""
    errors: Errors

    @property
    def counts(self) -> dict[ErrorKind, int]:
        """Returns the number of errors of each type."""
        numbers = np.bincount(self.errors.kinds, minlength=len(KINDS))
        return dict(zip(KINDS, numbers.tolist(), strict=True))


class _Points(NamedTuple):
    """Detections that count, in TIDE's order, which breaks ties of scores."""

    class_ids: np.ndarray
    scores: np.ndarray
    is_right: np.ndarray


def error_split(instances: Instances, *, max_detections: int = MAX_DETECTIONS) -> ErrorSplit:
    """Returns the errors of all detections and the cost of each type.

    Args:
      instances: ground truth and detections.
      max_detections: evaluated detections per image, over all classes.
    """
    truth = instances.truth
    is_free = ~truth.is_crowd
    parts: list[Errors] = []
    counted, right = [], []
    for rows, objects, crowds in _images(instances, max_detections):
        partner, ignored, overlaps = _matched(instances, rows, objects, crowds)
        is_free[objects[partner[partner != NOTHING]]] = False
        counted.append(rows[~ignored])
        right.append(rows[partner != NOTHING])
        parts.append(_errors(instances, rows, objects, (partner, ignored, overlaps)))
    errors = _joined(parts)
    right_rows, counted_rows = _rows(right), _rows(counted)
    original = _points(instances, counted_rows, np.isin(counted_rows, right_rows))
    fixed = _Corrector(instances, errors, _points(instances, right_rows, np.ones(len(right_rows), bool)), is_free)
    ap50 = _mean_ap(original, fixed.objects_of)
    wrong = fixed.together(fixed.wrong)
    unfound = np.bincount(truth.class_ids[is_free], minlength=len(fixed.objects_of))
    return ErrorSplit(
        ap50,
        {kind: max(fixed.ap(kind) - ap50, 0.0) for kind in ErrorKind},
        _mean_ap(wrong._replace(scores=wrong.is_right.astype(float)), fixed.objects_of) - ap50,
        _mean_ap(wrong, fixed.objects_of - unfound) - ap50,
        errors,
    )


def _images(instances: Instances, max_detections: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields the indices of detections (best first), of objects, and of crowds of each image."""
    truth, found = instances.truth, instances.found
    numbers = np.arange(len(instances.source_ids) + 1)
    truth_starts, found_starts = (np.searchsorted(side.images, numbers).tolist() for side in (truth, found))
    for number in range(len(instances.source_ids)):
        rows = np.arange(found_starts[number], found_starts[number + 1])
        objects = np.arange(truth_starts[number], truth_starts[number + 1])
        best = rows[np.argsort(-found.scores[rows], kind="stable")][:max_detections]
        yield best, objects[~truth.is_crowd[objects]], objects[truth.is_crowd[objects]]


def _matched(
    instances: Instances, rows: np.ndarray, objects: np.ndarray, crowds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (d,) indices of the matched objects or -1, (d,) whether a detection lies in a crowd, (d, n) IoUs."""
    truth, found = instances.truth, instances.found
    boxes, class_ids = found.boxes_xywh[rows], found.class_ids[rows]
    overlaps = iou_xywh(boxes, truth.boxes_xywh[objects])
    usable = np.where(class_ids[:, None] == truth.class_ids[objects], overlaps, 0.0)
    partner = np.full(len(rows), NOTHING)
    for place in np.flatnonzero(usable.max(axis=1, initial=0.0) >= FOREGROUND_IOU).tolist():
        nearest = int(usable[place].argmax())
        if usable[place, nearest] >= FOREGROUND_IOU:
            partner[place] = nearest
            usable[:, nearest] = 0
    inside = iou_xywh(boxes, truth.boxes_xywh[crowds], np.ones(len(crowds), bool)) > FOREGROUND_IOU
    inside &= class_ids[:, None] == truth.class_ids[crowds]
    return partner, inside.any(axis=1) & (partner == NOTHING), overlaps


def _errors(
    instances: Instances, rows: np.ndarray, objects: np.ndarray, matched: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> Errors:
    """Returns the errors of an image: its wrong detections, best first, then the objects without a nearby detection."""
    partner, ignored, overlaps = matched
    is_found = np.zeros(len(objects), bool)
    is_found[partner[partner != NOTHING]] = True
    wrong = np.flatnonzero(partner == NOTHING)
    same = instances.found.class_ids[rows[wrong], None] == instances.truth.class_ids[objects]
    kinds, columns = _kinds(overlaps[wrong], same, is_found)
    near = np.where(columns == NOTHING, NOTHING, objects[columns] if len(objects) else NOTHING)
    correctable = near[np.isin(kinds, _CORRECTABLE)]
    missed = np.setdiff1d(objects[~is_found], correctable)
    return Errors(
        np.concatenate([kinds, np.full(len(missed), KINDS.index(ErrorKind.MISSED))]),
        np.concatenate([rows[wrong], np.full(len(missed), NOTHING)]),
        np.concatenate([near, missed]),
        np.concatenate([ignored[wrong], np.zeros(len(missed), bool)]),
    )


_CORRECTABLE: Final = (KINDS.index(ErrorKind.CLASSIFICATION), KINDS.index(ErrorKind.LOCALIZATION))


def _kinds(overlaps: np.ndarray, same: np.ndarray, is_found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (d,) error types of the detections and (d,) indices of the nearest objects.

    The first matching type is used, in the order of TIDE.
    """
    kinds = np.full(len(overlaps), KINDS.index(ErrorKind.BOTH))
    if not overlaps.shape[1]:
        return np.full(len(overlaps), KINDS.index(ErrorKind.BACKGROUND)), np.full(len(overlaps), NOTHING)
    columns = overlaps.argmax(axis=1)
    is_background = overlaps.max(axis=1, initial=0.0) <= BACKGROUND_IOU
    kinds[is_background], columns[is_background] = KINDS.index(ErrorKind.BACKGROUND), NOTHING
    for kind, which, low, high in (
        (ErrorKind.DUPLICATE, same & is_found, FOREGROUND_IOU, np.inf),
        (ErrorKind.CLASSIFICATION, ~same, FOREGROUND_IOU, np.inf),
        (ErrorKind.LOCALIZATION, same, BACKGROUND_IOU, FOREGROUND_IOU),
    ):
        values = np.where(which, overlaps, 0.0)
        most = values.max(axis=1, initial=0.0)
        fits = (most >= low) & (most <= high)
        kinds[fits], columns[fits] = KINDS.index(kind), values.argmax(axis=1)[fits]
    return kinds, columns


class _Corrector:
    """Computes AP50 with the errors of one type corrected."""

    def __init__(self, instances: Instances, errors: Errors, right: _Points, is_free: np.ndarray):
        truth = instances.truth
        size = int(max(truth.class_ids.max(initial=0), instances.found.class_ids.max(initial=0))) + 1
        self.objects_of = np.bincount(truth.class_ids[~truth.is_crowd], minlength=size)
        self._instances, self._errors, self._right = instances, errors, right
        self.wrong = _points(instances, errors.found, np.zeros(len(errors.found), bool))
        self._is_counted = (errors.found != NOTHING) & ~errors.is_ignored
        self._becomes_right = self._best_rivals(is_free)

    def _best_rivals(self, is_free: np.ndarray) -> np.ndarray:
        """Returns (e,): whether a corrected error would match its object, which the best score near the object does."""
        errors, scores = self._errors, self._instances.found.scores
        rivals = np.flatnonzero(np.isin(errors.kinds, _CORRECTABLE))
        rivals = rivals[is_free[errors.truth[rivals]]]
        order = rivals[np.lexsort((rivals, -scores[errors.found[rivals]], errors.truth[rivals]))]
        best = order[np.flatnonzero(np.diff(errors.truth[order], prepend=-1))]
        result = np.zeros(len(errors.kinds), bool)
        result[best] = True
        return result

    def together(self, wrong: _Points, keep: np.ndarray | None = None) -> _Points:
        """Returns the errors that count, followed by the correct detections."""
        keep = self._is_counted if keep is None else keep
        parts = zip(wrong, self._right, strict=True)
        return _Points(*(np.concatenate([one[keep], other]) for one, other in parts))

    def ap(self, kind: ErrorKind) -> float:
        """Returns AP50 with the errors of one type corrected.

        The best detection near each unmatched object becomes correct; the other errors of the type are removed, and
        missed objects no longer count.
        """
        errors, truth = self._errors, self._instances.truth
        is_kind = errors.kinds == KINDS.index(kind)
        if kind is ErrorKind.MISSED:
            gone = np.bincount(truth.class_ids[errors.truth[is_kind]], minlength=len(self.objects_of))
            return _mean_ap(self.together(self.wrong), self.objects_of - gone)
        turned = is_kind & self._becomes_right
        wrong = self.wrong._replace(
            class_ids=np.where(turned, truth.class_ids[errors.truth] if len(truth) else 0, self.wrong.class_ids),
            is_right=turned,
        )
        return _mean_ap(self.together(wrong, (self._is_counted & ~is_kind) | turned), self.objects_of)


def _mean_ap(points: _Points, objects_of: np.ndarray) -> float:
    """Returns the mean AP in points over the classes with objects or detections; 0 for a class without objects."""
    number_of = np.bincount(points.class_ids, minlength=len(objects_of))
    each = []
    for class_id in np.flatnonzero((objects_of > 0) | (number_of > 0)).tolist():
        own = points.class_ids == class_id
        each.append(_ap(points.scores[own], points.is_right[own], int(objects_of[class_id])))
    return 100 * float(np.mean(each)) if each else 0.0


def _ap(scores: np.ndarray, is_right: np.ndarray, num_objects: int) -> float:
    """Returns the mean precision at 101 recalls."""
    if not num_objects:
        return 0.0
    right = np.cumsum(is_right[np.argsort(-scores, kind="stable")])
    precision = right / np.arange(1, len(right) + 1)
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(envelope[np.searchsorted(right / num_objects, np.arange(101) / 100, side="left")].mean())


def _points(instances: Instances, rows: np.ndarray, is_right: np.ndarray) -> _Points:
    """Returns detections by index; index -1 is a placeholder that is dropped later."""
    found = instances.found
    if not len(found):
        return _Points(np.zeros(len(rows), np.int64), np.zeros(len(rows)), is_right)
    return _Points(found.class_ids[rows], found.scores[rows], is_right)


def _rows(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _joined(parts: list[Errors]) -> Errors:
    rows = np.zeros(0, np.int64)
    nothing = Errors(rows, rows, rows, np.zeros(0, bool))
    return Errors(*(np.concatenate(each) for each in zip(nothing, *parts, strict=True)))
