"""Advice from the costs of a detector's errors."""

from typing import NamedTuple

import numpy as np

from efficientdet_pipeline.evaluation.analysis import Analysis
from efficientdet_pipeline.evaluation.error_split import ErrorKind

_MIN_COST = 1.0
"""Cost in points of AP50 from which an error type leads to advice."""
_REMEDIES = {
    ErrorKind.CLASSIFICATION: (
        "Objects are found but assigned to another class",
        "Look at the confusion matrix for the pairs; check their labels for consistency, add images of the rarer one, "
        "or merge classes that a person cannot distinguish.",
    ),
    ErrorKind.LOCALIZATION: (
        "Objects are found, but their boxes are inaccurate",
        "Check in the gallery whether the annotated boxes are tight; small objects need a larger --image_size, "
        "long ones need anchors fitted to the data.",
    ),
    ErrorKind.BOTH: (
        "Detections have the wrong class and an inaccurate box",
        "These are often parts of objects, or groups detected as one object: check the annotation rules for occluded "
        "objects.",
    ),
    ErrorKind.DUPLICATE: (
        "Objects are detected more than once",
        "Lower the IoU threshold of non-maximum suppression, or raise the score threshold.",
    ),
    ErrorKind.BACKGROUND: (
        "Detections where nothing is annotated",
        "Look at the worst false positives: some may be objects without annotation (see likely label errors). Against "
        "the others, add images without objects that look similar.",
    ),
    ErrorKind.MISSED: (
        "Objects are not found at all",
        "See the metrics by size: tiny objects need a larger --image_size; otherwise train longer, with a larger "
        "network, or with more images of the classes of low recall.",
    ),
}


class Advice(NamedTuple):
    """A problem, its cost, and a remedy."""

    title: str
    detail: str


def advice(analysis: Analysis) -> list[Advice]:
    """Returns the advice, the highest gain first."""
    found = [
        Advice(
            f"{_REMEDIES[kind][0]}: {cost:.1f} points of AP50",
            f"{_REMEDIES[kind][1]}",
        )
        for kind, cost in sorted(analysis.errors.costs.items(), key=lambda each: -each[1])
        if cost >= _MIN_COST
    ][:3]
    return [*found, *_weak_classes(analysis), *_calibrated(analysis), *_uncertain(analysis)]


def _weak_classes(analysis: Analysis) -> list[Advice]:
    per_class = analysis.metrics.per_class["AP"]
    measured = {name: value for name, value in per_class.items() if value >= 0}
    if len(measured) < 3:
        return []
    middle = float(np.median(list(measured.values())))
    weak = sorted((value, name) for name, value in measured.items() if value < 0.5 * middle)[:3]
    if not weak:
        return []
    listed = ", ".join(f"{name} ({value:.3f})" for value, name in weak)
    return [
        Advice(
            "Some classes have a far lower AP than the others",
            f"{listed}, where the median class has {middle:.3f}. Compare their numbers of objects: more images "
            "help most; --class_weights may help where they are rare.",
        )
    ]


def _calibrated(analysis: Analysis) -> list[Advice]:
    ece = analysis.calibration.ece
    if ece < 0.15:
        return []
    return [
        Advice(
            f"Scores are not calibrated: they differ from precision by {ece:.2f} on average",
            "Choose thresholds by the curves or thresholds.yaml; a score of 0.9 does not mean 90 percent.",
        )
    ]


def _uncertain(analysis: Analysis) -> list[Advice]:
    low, high = analysis.intervals.overall["AP"]
    if high - low < 0.06:
        return []
    return [
        Advice(
            f"The 95% interval of AP is {high - low:.2f} wide",
            f"{len(analysis.instances.source_ids):,} evaluated images do not allow a finer comparison: smaller "
            "differences between "
            "runs may be due to chance. Evaluate on more images.",
        )
    ]
