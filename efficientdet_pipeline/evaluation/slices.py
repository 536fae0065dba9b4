"""Average precision on slices of the data: by size, by aspect ratio, by group of classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.evaluation.average_precision import UNDEFINED, average_precision, class_precision
from efficientdet_pipeline.evaluation.instances import Instances
from efficientdet_pipeline.evaluation.matching import Matches, OverlapPairs, match, overlap_pairs

SIZES: Final = {
    "tiny (below 16² px)": (0.0, 16.0**2),
    "small (16² to 32² px)": (16.0**2, 32.0**2),
    "medium (32² to 96² px)": (32.0**2, 96.0**2),
    "large (96² to 288² px)": (96.0**2, 288.0**2),
    "huge (above 288² px)": (288.0**2, 1e10),
}
"""Object area in square pixels; COCO's small is the first two together, its large the last two."""
ASPECTS: Final = {
    "tall (height above 2 × width)": (0.0, 0.5),
    "balanced": (0.5, 2.0),
    "wide (width above 2 × height)": (2.0, np.inf),
}
"""Aspect ratio of the box, width / height."""


@dataclass(frozen=True)
class SliceMetrics:
    """Metrics of one slice; -1 without objects."""

    kind: str
    """"size", "aspect" or "classes"."""
    name: str
    num_objects: int
    ap: float
    ap50: float


def slice_metrics(
    instances: Instances, matches: Matches, *, class_groups: Mapping[str, Sequence[int]] | None = None
) -> list[SliceMetrics]:
    """Returns the metrics by size, by aspect ratio and by group of classes.

    As in COCO's metrics by size, objects outside a slice are ignored, and so are unmatched detections outside it.

    Args:
      instances: ground truth and detections.
      matches: of all detections, at COCO's ten thresholds.
      class_groups: group name to class ids.

    Raises:
      OptionsError: a group contains a class that is not evaluated.
    """
    truth, found = instances.truth, instances.found
    groups = class_groups or {}
    unknown = {class_id for ids in groups.values() for class_id in ids} - set(instances.class_ids)
    if unknown:
        raise OptionsError(
            f"Groups of classes may hold the evaluated classes {', '.join(map(str, instances.class_ids))}. "
            f"Received {', '.join(map(str, sorted(unknown)))}."
        )
    pairs = overlap_pairs(instances)
    truth_aspects, found_aspects = _aspects(truth.boxes_xywh), _aspects(found.boxes_xywh)
    return [
        *(
            _of_range(instances, pairs, "size", name, (truth.areas, found.areas), bounds)
            for name, bounds in SIZES.items()
        ),
        *(
            _of_range(instances, pairs, "aspect", name, (truth_aspects, found_aspects), bounds)
            for name, bounds in ASPECTS.items()
        ),
        *(_of_classes(instances, matches, name, ids) for name, ids in groups.items()),
    ]


def _of_range(
    instances: Instances,
    pairs: OverlapPairs,
    kind: str,
    name: str,
    values: tuple[np.ndarray, np.ndarray],
    bounds: tuple[float, float],
) -> SliceMetrics:
    """Returns the metrics of objects with a value from the lower bound, inclusive, to the upper one, exclusive."""
    truth_outside, found_outside = ((each < bounds[0]) | (each >= bounds[1]) for each in values)
    matches = match(instances, truth_ignored=truth_outside, found_outside=found_outside, pairs=pairs)
    ap = average_precision(instances, matches)
    num_objects = int(np.count_nonzero(~matches.truth_ignored))
    return SliceMetrics(kind, name, num_objects, float(ap.mean()), float(ap[0]))


def _of_classes(instances: Instances, matches: Matches, name: str, class_ids: Sequence[int]) -> SliceMetrics:
    each = [class_precision(instances, matches, class_id) for class_id in class_ids]
    measured = [values for values in each if values is not None]
    is_counted = np.isin(instances.truth.class_ids, np.array(class_ids)) & ~matches.truth_ignored
    ap = np.mean(measured, axis=0) if measured else np.full(len(matches.thresholds), UNDEFINED)
    return SliceMetrics("classes", name, int(np.count_nonzero(is_counted)), float(ap.mean()), float(ap[0]))


def _aspects(boxes_xywh: np.ndarray) -> np.ndarray:
    return boxes_xywh[:, 2] / np.maximum(boxes_xywh[:, 3], 1e-9)
