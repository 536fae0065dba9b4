"""`thresholds.yaml` of a run: score thresholds of the best F1, and the metrics at them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.evaluation.curves import OperatingPoint, ScoreCurve, best_overall
from efficientdet_pipeline.inference.thresholds import THRESHOLDS, Thresholds
from tfrmod import fileio

FILE_NAME = THRESHOLDS
_HEADER = """\
# Score thresholds of the best F1 at IoU {iou:g}. Inference reads `default` and `by_class`, which may be edited;
# `measured` has the metrics on the evaluated images. default: best mean F1 over all classes.
"""


@dataclass(frozen=True)
class BestThresholds:
    """Score thresholds of the best F1."""

    overall: OperatingPoint | None
    """One threshold for all classes; None without correct detections."""
    per_class: Mapping[str, OperatingPoint] = field(default_factory=dict)
    """By class name; classes without correct detections are missing."""
    class_ids: Mapping[str, int] = field(default_factory=dict)
    """By class name, for the same classes."""
    iou: float = 0.5

    def scores(self, default: float) -> Thresholds:
        """Returns the thresholds for inference; `default` is used without correct detections."""
        return Thresholds(
            self.overall.threshold if self.overall else default,
            {self.class_ids[name]: point.threshold for name, point in self.per_class.items()},
        )


def best_thresholds(curves: Mapping[int, ScoreCurve], names: Mapping[int, str], *, iou: float = 0.5) -> BestThresholds:
    """Returns the thresholds of the best F1 from the curves of `score_curves`; `names` is class id to name."""
    best = {class_id: curve.best for class_id, curve in curves.items()}
    named = {names.get(class_id, str(class_id)): class_id for class_id, point in best.items() if point is not None}
    points = {name: point for name, class_id in named.items() if (point := best[class_id]) is not None}
    return BestThresholds(best_overall(curves), points, named, iou)


def write_best_thresholds(path: Path, best: BestThresholds, *, default: float) -> None:
    """Writes thresholds.yaml atomically; inference reads it with `read_thresholds`.

    Args:
      path: of the file.
      best: the thresholds and their metrics.
      default: threshold of all classes if no detection is correct.
    """
    scores = best.scores(default)
    content: dict[str, Any] = {
        "default": scores.default,
        "by_class": dict(sorted(scores.by_class.items())),
        "measured": {
            "iou": best.iou,
            "overall": None if best.overall is None else asdict(best.overall),
            "classes": {name: {"id": best.class_ids[name], **asdict(point)} for name, point in best.per_class.items()},
        },
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    fileio.write_file(path, _HEADER.format(iou=best.iou) + text)


def read_best_thresholds(path: Path) -> BestThresholds:
    """Returns the thresholds and their metrics from a file of `write_best_thresholds`.

    Raises:
      DataError: it has no metrics.
      FileNotFoundError: the file does not exist.
    """
    try:
        measured = yaml.safe_load(path.read_text(encoding="utf-8"))["measured"]
        overall, classes = measured["overall"], measured["classes"]
        return BestThresholds(
            None if overall is None else OperatingPoint(**overall),
            {name: _point(entry) for name, entry in classes.items()},
            {name: int(entry["id"]) for name, entry in classes.items()},
            float(measured["iou"]),
        )
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{path} must have the metrics at its thresholds under `measured`. It cannot be read: "
            f"{type(error).__name__}: {error}. Evaluate again to write it."
        ) from error


def _point(entry: Mapping[str, Any]) -> OperatingPoint:
    return OperatingPoint(**{name: float(value) for name, value in entry.items() if name != "id"})
