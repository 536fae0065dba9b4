"""Average precision and recall as COCO defines them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from efficientdet_pipeline.evaluation.average_precision import UNDEFINED
from efficientdet_pipeline.evaluation.engines import CocoArrays, coco_arrays
from efficientdet_pipeline.evaluation.instances import flatten
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.results import ImageDetections
from efficientdet_pipeline.options.evaluation import Engine

METRIC_NAMES = (
    "AP",
    "AP50",
    "AP75",
    "APs",
    "APm",
    "APl",
    "ARmax1",
    "ARmax10",
    "ARmax100",
    "ARs",
    "ARm",
    "ARl",
)
"""In the order of COCOeval.stats, with the names of google/automl."""


def coco_metrics(
    truth: Sequence[TruthImage],
    detected: Sequence[ImageDetections],
    label_map: Mapping[int, str],
    *,
    engine: Engine = "auto",
) -> dict[str, Any]:
    """Returns COCO's twelve metrics and the average precision per class.

    Every image of `truth` counts, also one without objects or without
    detections. (automl counts only images with detections.) To evaluate part of
    a data set, pass that part of its images.

    Args:
      truth: all images of the evaluation, each once.
      detected: at most one for each image of `truth`; the best 100 boxes of each are evaluated.
      label_map: class id to name. A class without a name is named by its id.
      engine: the engine that computes them; all engines give bit-identical metrics.

    Returns:
      The twelve `METRIC_NAMES`, and under "per_class" and "per_class_AP50" the
      metrics by class name. All are 0 to 1, or -1 where undefined.

    Raises:
      DataError: an image occurs twice, or has detections but no ground truth.

    >>> metrics = coco_metrics([TruthImage("7", [[0, 0, 9, 9]], [1])], [], {1: "cat"})
    >>> metrics["AP"], metrics["APl"], metrics["per_class"]
    (0.0, -1.0, {"cat": 0.0})
    """
    instances = flatten(truth, detected, label_map)
    return coco_summary(coco_arrays(instances, engine), class_names(instances.class_ids, label_map))


def coco_summary(arrays: CocoArrays, names: Sequence[str]) -> dict[str, Any]:
    """Returns the metrics of `coco_metrics` from precision and recall arrays; `names` are the class names."""
    stats = (
        *(_mean(arrays.precision[level, :, :, 0, -1]) for level in (slice(None), 0, 5)),
        *(_mean(arrays.precision[:, :, :, area, -1]) for area in (1, 2, 3)),
        *(_mean(arrays.recall[:, :, 0, limit]) for limit in (0, 1, 2)),
        *(_mean(arrays.recall[:, :, area, -1]) for area in (1, 2, 3)),
    )
    return {
        **dict(zip(METRIC_NAMES, stats, strict=True)),
        "per_class": dict(zip(names, _precision_per_class(arrays, slice(None)), strict=True)),
        "per_class_AP50": dict(zip(names, _precision_per_class(arrays, 0), strict=True)),
    }


def class_names(class_ids: Sequence[int], label_map: Mapping[int, str]) -> list[str]:
    """Returns a unique name for each class.

    >>> class_names([1, 2, 5], {1: "cat", 2: "cat"})
    ["cat (1)", "cat (2)", "5"]
    """
    names = [str(label_map.get(class_id, class_id)) for class_id in class_ids]
    count = Counter(names)
    return [
        name if count[name] == 1 else f"{name} ({class_id})" for name, class_id in zip(names, class_ids, strict=True)
    ]


def _precision_per_class(arrays: CocoArrays, thresholds: slice | int) -> list[float]:
    """Returns each class's precision, averaged over recalls and these IoU thresholds."""
    return [_mean(values) for values in np.moveaxis(arrays.precision[thresholds, ..., 0, -1], -1, 0)]


def _mean(values: np.ndarray) -> float:
    measured = values[values > -1]
    return float(np.mean(measured)) if len(measured) else UNDEFINED
