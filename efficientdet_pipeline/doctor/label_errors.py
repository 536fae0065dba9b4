"""Issues from a trained run: loss spikes, classes that are never found, likely label errors.

t: ground-truth boxes of an image, d: its detections.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from efficientdet_pipeline.doctor.boxes import overlaps
from efficientdet_pipeline.doctor.issue import Issue
from efficientdet_pipeline.doctor.issue_types import make_issue

FOUND = 0.5
"""IoU from which a detection matches an object."""
_NO_OVERLAP = 0.1
_SAME_OBJECT = 0.7
_LEAST_CONFIDENT = 0.3
_SEEN_SCORE = 0.05
_NEVER_FOUND_SHARE = 0.1
_JUMP = 2.0
"""Ratio of an epoch's loss to that of the epoch before, from which the loss counts as a spike."""


class LabeledPrediction(NamedTuple):
    """Ground truth and detections of one image; boxes y0 x0 y1 x1 in image pixels."""

    file: str
    truth: np.ndarray
    """(t, 4), without crowds."""
    truth_ids: np.ndarray
    crowds: np.ndarray
    """(c, 4): detections in a crowd are neither right nor wrong."""
    detected: np.ndarray
    """(d, 4)."""
    scores: np.ndarray
    detected_ids: np.ndarray


class LabelError(NamedTuple):
    """One box that is likely labelled wrongly."""

    file: str
    box: tuple[float, float, float, float]
    description: str
    rank: float
    """Higher is worse."""


@dataclass(frozen=True)
class LabelErrors:
    """Likely label errors by issue code."""

    num_truths: int
    num_confident: int
    found_shares: Mapping[str, float]
    """{class: share of its objects on which a detection of the class lies}."""
    by_code: Mapping[str, list[LabelError]] = field(default_factory=dict)

    @property
    def never_found(self) -> list[str]:
        """Returns the classes of which almost nothing was found."""
        return sorted(name for name, share in self.found_shares.items() if share < _NEVER_FOUND_SHARE)

    def worst(self, code: str) -> list[LabelError]:
        """Returns the errors of one code, the worst first."""
        return sorted(self.by_code.get(code, ()), key=lambda each: -each.rank)


def find_label_errors(predictions: Sequence[LabeledPrediction], names: Mapping[int, str]) -> LabelErrors:
    """Returns the boxes on which annotation and detector confidently disagree.

    Scores differ between runs and classes: a detection is confident if its score
    reaches the median of the class's correct detections.
    """
    confident = _confident_scores(predictions)
    by_code: dict[str, list[LabelError]] = defaultdict(list)
    num_confident = 0
    total: dict[int, int] = defaultdict(int)
    hit: dict[int, int] = defaultdict(int)
    for prediction in predictions:
        table = overlaps(prediction.detected[:, None], prediction.truth[None])
        is_confident = prediction.scores >= np.array(
            [confident.get(int(each), 1.0) for each in prediction.detected_ids]
        )
        num_confident += int(is_confident.sum())
        by_code["found_without_truth"] += _false_positives(prediction, table, is_confident, names)
        seen = _seen(prediction, table)
        for index, class_id in enumerate(prediction.truth_ids.tolist()):
            total[class_id] += 1
            hit[class_id] += bool(seen[index])
        by_code["truth_other_class"] += _other_class(prediction, table, is_confident, names)
        by_code["truth_never_found"] += _missed(prediction, table, names)
    shares = {names.get(class_id, str(class_id)): hit[class_id] / count for class_id, count in total.items()}
    errors = LabelErrors(sum(total.values()), num_confident, shares, by_code)
    # A class of which nothing is found is one issue, not one for each of its objects.
    never = [
        each for each in by_code["truth_never_found"] if each.description.partition(",")[0] not in errors.never_found
    ]
    by_code["truth_never_found"] = never
    return errors


def label_issues(errors: LabelErrors, *, drawing: str = "") -> list[Issue | None]:
    """Returns the issues of likely label errors; `drawing` is the file in which the worst are drawn."""
    totals = {
        "found_without_truth": errors.num_confident,
        "truth_other_class": errors.num_truths,
        "truth_never_found": errors.num_truths,
    }
    return [
        make_issue(
            "class_never_found",
            count=len(errors.never_found),
            of=len(errors.found_shares),
            detail="Found of "
            + ", ".join(f"{name} {errors.found_shares[name]:.0%}" for name in errors.never_found)
            + f" (score {_SEEN_SCORE:g} or more, IoU {FOUND:g}).",
            classes=errors.never_found,
        ),
        *(
            make_issue(
                code,
                count=len(errors.by_code.get(code, ())),
                of=total,
                files=[_named(each) for each in errors.worst(code)],
                detail=f"The worst are drawn in {drawing}." if drawing and code != "truth_never_found" else "",
            )
            for code, total in totals.items()
        ),
    ]


def loss_issues(
    rows: Sequence[Mapping[str, Any]],
    incidents: Sequence[Mapping[str, Any]],
    images_of: Callable[[int], Iterable[str]],
) -> list[Issue | None]:
    """Returns the issues of a run's losses.

    Args:
      rows: of results.csv, one per epoch.
      incidents: of incidents.jsonl: step, epoch, kind, loss, usual.
      images_of: step number → files of its batch.
    """
    by_kind: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for each in incidents:
        by_kind[each["kind"]].append(each)
    num_steps = max([int(float(row["step"])) for row in rows if row.get("step")], default=0)
    bad, spikes = by_kind["bad"], sorted(by_kind["spike"], key=lambda each: -(each["loss"] or 0) / (each["usual"] or 1))
    jumps = _loss_jumps(rows)
    description = "; ".join(f"epoch {epoch}: {before:.3g} → {after:.3g}" for epoch, before, after in jumps[:3])
    return [
        make_issue(
            "step_skipped",
            count=len(bad),
            of=num_steps,
            files=_images_of_steps(bad, images_of),
            detail=_describe_steps(bad),
        ),
        make_issue(
            "loss_spike",
            count=len(spikes) or len(jumps),
            of=num_steps if spikes else len(rows),
            files=_images_of_steps(spikes, images_of),
            detail=". ".join(filter(None, (_describe_steps(spikes), description))),
        ),
    ]


def _confident_scores(predictions: Sequence[LabeledPrediction]) -> dict[int, float]:
    """Returns {class id: median score of its correct detections}; classes without one are missing."""
    right: dict[int, list[float]] = defaultdict(list)
    for prediction in predictions:
        table = overlaps(prediction.detected[:, None], prediction.truth[None])
        same = (table >= FOUND) & (prediction.detected_ids[:, None] == prediction.truth_ids[None])
        for index in np.flatnonzero(same.any(axis=1)):
            right[int(prediction.detected_ids[index])].append(float(prediction.scores[index]))
    # The best detection of each object would do; weaker duplicates only lower the median, which has a lower bound.
    return {class_id: max(_LEAST_CONFIDENT, float(np.median(scores))) for class_id, scores in right.items()}


def _seen(prediction: LabeledPrediction, table: np.ndarray) -> np.ndarray:
    """Returns (t,): whether each object has a detection of its class."""
    same = (prediction.detected_ids[:, None] == prediction.truth_ids[None]) & (prediction.scores >= _SEEN_SCORE)[
        :, None
    ]
    return ((table >= FOUND) & same).any(axis=0)


def _false_positives(
    prediction: LabeledPrediction, table: np.ndarray, is_confident: np.ndarray, names: Mapping[int, str]
) -> list[LabelError]:
    nearest = table.max(axis=1, initial=0.0)
    in_crowd = _inside(prediction.detected, prediction.crowds)
    alone = np.flatnonzero(is_confident & (nearest < _NO_OVERLAP) & ~in_crowd)
    return [
        _label_error(
            prediction,
            prediction.detected[index],
            f"{_name(names, prediction.detected_ids[index])}, score {score:.2f}",
            score,
        )
        for index, score in zip(alone.tolist(), prediction.scores[alone].tolist(), strict=True)
    ]


def _other_class(
    prediction: LabeledPrediction, table: np.ndarray, is_confident: np.ndarray, names: Mapping[int, str]
) -> list[LabelError]:
    errors_found = []
    same = prediction.detected_ids[:, None] == prediction.truth_ids[None]
    for index in range(len(prediction.truth)):
        own = prediction.scores[(table[:, index] >= FOUND) & same[:, index]].max(initial=0.0)
        others = np.flatnonzero(is_confident & (table[:, index] >= _SAME_OBJECT) & ~same[:, index])
        # A competing class with an object of its own there is right, and the label may be as well.
        wrong = [other for other in others.tolist() if not (same[other] & (table[other] >= FOUND)).any()]
        if not wrong:
            continue
        best = max(wrong, key=lambda other: prediction.scores[other])
        if prediction.scores[best] > 2 * own:
            detected = _name(names, prediction.detected_ids[best])
            label = f"{_name(names, prediction.truth_ids[index])}, detected as {detected}"
            score = float(prediction.scores[best])
            errors_found.append(
                _label_error(prediction, prediction.truth[index], f"{label} {score:.2f}", score - float(own))
            )
    return errors_found


def _missed(prediction: LabeledPrediction, table: np.ndarray, names: Mapping[int, str]) -> list[LabelError]:
    overlap = np.where(prediction.scores[:, None] >= _SEEN_SCORE, table, 0.0).max(axis=0, initial=0.0)
    return [
        _label_error(
            prediction,
            prediction.truth[index],
            f"{_name(names, prediction.truth_ids[index])}, nearest IoU {overlap[index]:.2f}",
            1,
        )
        for index in np.flatnonzero(overlap < _NO_OVERLAP)
    ]


def _inside(boxes: np.ndarray, crowds: np.ndarray) -> np.ndarray:
    """Returns (d,): whether at least half of a box lies in a crowd."""
    corner = np.maximum(boxes[:, None, :2], crowds[None, :, :2])
    sides = np.maximum(np.minimum(boxes[:, None, 2:], crowds[None, :, 2:]) - corner, 0.0)
    areas = np.maximum(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), 1e-12)
    return (np.prod(sides, axis=-1) / areas[:, None]).max(axis=1, initial=0.0) >= FOUND


def _label_error(prediction: LabeledPrediction, box: np.ndarray, description: str, rank: float) -> LabelError:
    y0, x0, y1, x1 = (float(side) for side in box)
    return LabelError(prediction.file, (y0, x0, y1, x1), description, rank)


def _named(suspect: LabelError) -> str:
    y0, x0, y1, x1 = suspect.box
    return f"{suspect.file} ({suspect.description} at {x0:.0f} {y0:.0f} {x1:.0f} {y1:.0f})"


def _name(names: Mapping[int, str], class_id: Any) -> str:
    return names.get(int(class_id), str(int(class_id)))


def _loss_jumps(rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, float, float]]:
    """Returns (epoch, loss before, loss) of the epochs whose loss jumped or became non-finite."""
    losses = [(int(float(row["epoch"])), float(row["loss"])) for row in rows if row.get("epoch") and row.get("loss")]
    jumps = []
    for (_, before), (epoch, loss) in itertools.pairwise(losses):
        if math.isfinite(before) and (not math.isfinite(loss) or loss > _JUMP * before):
            jumps.append((epoch, before, loss))
    return jumps


def _images_of_steps(steps: Sequence[Mapping[str, Any]], images_of: Callable[[int], Iterable[str]]) -> list[str]:
    """Returns the images of the worst steps, grouped by step."""
    named: list[str] = []
    for step in steps:
        if len(named) >= 10:
            break
        named += [f"{file} (step {step['step']})" for file in images_of(step["step"])]
    return named


def _describe_steps(steps: Sequence[Mapping[str, Any]]) -> str:
    def loss(step: Mapping[str, Any]) -> str:
        value, usual = step["loss"], step["usual"]
        return ("not finite" if value is None else f"{value:.3g}") + (f" (usual {usual:.3g})" if usual else "")

    return "; ".join(f"step {step['step']}, epoch {step['epoch']}: {loss(step)}" for step in steps[:3])
