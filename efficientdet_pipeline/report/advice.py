"""What to do about the errors of a detector, from their costs."""

from typing import NamedTuple

import numpy as np

from efficientdet_pipeline.evaluation.analysis import Analysis
from efficientdet_pipeline.evaluation.error_split import ErrorKind

_MIN_COST = 1.0
"""Points of AP50 from which a kind of error is worth a word."""
_REMEDIES = {
    ErrorKind.CLASSIFICATION: (
        "Objects are found but take the name of another class",
        "Look at the confusion matrix for the pairs; check their labels for consistency, add images of the rarer one, "
        "or merge classes that a person cannot tell apart.",
    ),
    ErrorKind.LOCALIZATION: (
        "Objects are found, but their boxes fit badly",
        "Check in the gallery whether the annotated boxes are tight; small objects gain from a larger --image_size, "
        "long ones from anchors fitted to the data.",
    ),
    ErrorKind.BOTH: (
        "Detections lie near objects of another class, and fit badly",
        "Often parts of objects or groups taken as one: check the annotation rules for partly hidden objects.",
    ),
    ErrorKind.DUPLICATE: (
        "Objects are detected more than once",
        "Lower the IoU threshold of non-maximum suppression, or raise the score threshold.",
    ),
    ErrorKind.BACKGROUND: (
        "Detections lie where nothing is annotated",
        "Look at the worst false alarms: some may be objects that annotation missed (see likely label errors). Against "
        "the others, add images without objects that look alike.",
    ),
    ErrorKind.MISSED: (
        "Objects are not found at all",
        "Compare the sizes below: tiny objects need a larger --image_size; otherwise train longer, with a larger "
        "network, or with more images of the classes of low recall.",
    ),
}


class Advice(NamedTuple):
    """A problem, its cost and its remedy."""

    title: str
    detail: str


def advice(analysis: Analysis) -> list[Advice]:
    """Returns what to do, the most rewarding first."""
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
            "Some classes are far below the others",
            f"{listed}, where the median class has {middle:.3f}. Compare their numbers of objects: more images of them "
            "help most; --class_weights may help where they are rare.",
        )
    ]


def _calibrated(analysis: Analysis) -> list[Advice]:
    ece = analysis.calibration.ece
    if ece < 0.15:
        return []
    return [
        Advice(
            f"Scores are no probabilities: they are off by {ece:.2f} on average",
            "Choose thresholds from the curves or from thresholds.yaml, not by taking a score of 0.9 for 90 percent.",
        )
    ]


def _uncertain(analysis: Analysis) -> list[Advice]:
    low, high = analysis.intervals.overall["AP"]
    if high - low < 0.06:
        return []
    return [
        Advice(
            f"The AP is known to within {high - low:.2f} only",
            f"{len(analysis.instances.source_ids):,} evaluated images allow no finer comparison: differences between "
            "runs below that may be chance. Evaluate on more images.",
        )
    ]
