"""`thresholds.yaml`: the score thresholds of the best F1, per class and for all classes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.evaluation.curves import OperatingPoint, ScoreCurve, best_overall
from tfrmod import fileio

FILE_NAME = "thresholds.yaml"
_HEADER = """\
# Score thresholds of the best F1, measured at IoU {iou:g} on the evaluated images.
# overall: one threshold for all classes, best on their average; classes: each class by itself.
"""


@dataclass(frozen=True)
class Thresholds:
    """From which score detections are shown."""

    overall: OperatingPoint | None
    """None where no detection is right."""
    per_class: Mapping[str, OperatingPoint] = field(default_factory=dict)
    """By class name; a class of which nothing is right is missing."""
    iou: float = 0.5

    def of(self, name: str, default: float) -> float:
        """Returns the threshold of a class, else that of all classes, else `default`."""
        point = self.per_class.get(name, self.overall)
        return default if point is None else point.threshold


def best_thresholds(curves: Mapping[int, ScoreCurve], names: Mapping[int, str], *, iou: float = 0.5) -> Thresholds:
    """Returns the thresholds of the best F1 from the curves of `score_curves`; `names` is class id to name."""
    best = {names.get(class_id, str(class_id)): curve.best for class_id, curve in curves.items()}
    return Thresholds(best_overall(curves), {name: point for name, point in best.items() if point is not None}, iou)


def write_thresholds(path: Path, thresholds: Thresholds) -> None:
    """Writes thresholds.yaml, whole or not at all."""
    content: dict[str, Any] = {
        "iou": thresholds.iou,
        "overall": None if thresholds.overall is None else asdict(thresholds.overall),
        "classes": {name: asdict(point) for name, point in thresholds.per_class.items()},
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    fileio.write_file(path, _HEADER.format(iou=thresholds.iou) + text)


def read_thresholds(path: Path) -> Thresholds:
    """Returns what `write_thresholds` wrote, or a user edited.

    Raises:
      DataError: it is not YAML, or a threshold is not a number from 0 to 1.
      FileNotFoundError: there is no such file.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError("it has no entries")
        overall = content.get("overall")
        return Thresholds(
            None if overall is None else _point(overall),
            {str(name): _point(entry) for name, entry in (content.get("classes") or {}).items()},
            float(content.get("iou", 0.5)),
        )
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{path} must hold 'overall' and 'classes', each with a threshold from 0 to 1. Reading it failed with "
            f"{type(error).__name__}: {error}. Correct it, or delete it and evaluate again."
        ) from error


def _point(entry: Any) -> OperatingPoint:
    """Returns a point; a bare number is a threshold whose precision and recall are not known."""
    if isinstance(entry, int | float):
        entry = {"threshold": entry}
    values = {name: float(entry.get(name, float("nan"))) for name in ("precision", "recall", "f1")}
    threshold = float(entry["threshold"])
    if not 0 <= threshold <= 1:
        raise ValueError(f"a threshold must be 0 to 1, received {threshold}")
    return OperatingPoint(threshold, **values)
