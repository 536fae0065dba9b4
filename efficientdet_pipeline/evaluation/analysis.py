"""Analysis of an evaluation: all results beyond the metrics, computed once for the report and its figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from efficientdet_pipeline.evaluation.bootstrap import NUM_DRAWS, Intervals, confidence_intervals
from efficientdet_pipeline.evaluation.calibration import Calibration, Histograms, calibration, histograms
from efficientdet_pipeline.evaluation.coco import class_names
from efficientdet_pipeline.evaluation.confusion import ConfusionMatrix, confusion_matrix
from efficientdet_pipeline.evaluation.curves import OperatingPoint, ScoreCurve, score_curves
from efficientdet_pipeline.evaluation.error_split import ErrorSplit, error_split
from efficientdet_pipeline.evaluation.instances import Instances
from efficientdet_pipeline.evaluation.matching import Matches, match
from efficientdet_pipeline.evaluation.metrics import Metrics, metrics_of
from efficientdet_pipeline.evaluation.slices import SliceMetrics, slice_metrics
from efficientdet_pipeline.evaluation.thresholds import BestThresholds, best_thresholds
from efficientdet_pipeline.options.evaluation import Engine

DEFAULT_THRESHOLD = 0.3
"""Threshold if no detection is correct, so that none is best."""


@dataclass(frozen=True)
class Analysis:
    """Results of one evaluation."""

    instances: Instances
    names: Mapping[int, str]
    """Class id to name; names are unique."""
    metrics: Metrics
    intervals: Intervals
    matches: Matches
    curves: Mapping[int, ScoreCurve]
    """Curves of the classes that have objects."""
    thresholds: BestThresholds
    threshold: float
    """Score threshold of the shown detections: that of the best F1 over all classes, or the one given."""
    confusion: ConfusionMatrix
    errors: ErrorSplit
    calibration: Calibration
    histograms: Histograms
    slices: Sequence[SliceMetrics]

    @property
    def point(self) -> OperatingPoint | None:
        """Returns the operating point of the best F1 over all classes."""
        return self.thresholds.overall


def analyse(
    instances: Instances,
    label_map: Mapping[int, str],
    *,
    engine: Engine = "auto",
    threshold: float | None = None,
    class_groups: Mapping[str, Sequence[int]] | None = None,
    num_draws: int = NUM_DRAWS,
) -> Analysis:
    """Returns the analysis of an evaluation.

    Args:
      instances: ground truth and detections.
      label_map: class id to name.
      engine: the engine that computes the COCO metrics.
      threshold: score threshold of the shown detections; None takes that of the best F1.
      class_groups: group name to class ids.
      num_draws: bootstrap samples of the confidence intervals.
    """
    names = dict(zip(instances.class_ids, class_names(instances.class_ids, label_map), strict=True))
    matches = match(instances)
    curves = score_curves(instances, matches)
    thresholds = best_thresholds(curves, names)
    if threshold is None:
        threshold = thresholds.overall.threshold if thresholds.overall else DEFAULT_THRESHOLD
    return Analysis(
        instances=instances,
        names=names,
        metrics=metrics_of(instances, label_map, engine=engine),
        intervals=confidence_intervals(instances, matches, num_draws=num_draws),
        matches=matches,
        curves=curves,
        thresholds=thresholds,
        threshold=threshold,
        confusion=confusion_matrix(instances, matches, threshold=threshold),
        errors=error_split(instances),
        calibration=calibration(instances, matches),
        histograms=histograms(instances, matches, threshold=threshold),
        slices=slice_metrics(instances, matches, class_groups=class_groups),
    )
