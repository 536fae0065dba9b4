"""Score thresholds, for all classes or per class, and the file that stores them with an export."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.inference.results import ImageDetections
from tfrmod import fileio

THRESHOLDS = "thresholds.yaml"


@dataclass(frozen=True)
class Thresholds:
    """Minimum scores of detections."""

    default: float
    """Threshold of every class that is not in `by_class`, 0 to 1."""
    by_class: Mapping[int, float] = field(default_factory=dict)
    """Class id to minimum score."""

    def __post_init__(self) -> None:
        """Checks that the scores are between 0 and 1."""
        wrong = [value for value in (self.default, *self.by_class.values()) if not 0.0 <= value <= 1.0]
        if wrong:
            raise DataError(f"A score threshold must be between 0 and 1. Received {wrong[0]!r}; try 0.4.")

    def above(self, found: ImageDetections) -> ImageDetections:
        """Returns the detections that reach the threshold of their class."""
        limits = np.array([self.by_class.get(int(each), self.default) for each in found.class_ids], np.float64)
        keep = found.scores >= limits
        return ImageDetections(found.boxes[keep], found.scores[keep], found.class_ids[keep])

    def write(self, path: Path) -> None:
        """Writes the thresholds as YAML, atomically."""
        by_class = {int(class_id): float(value) for class_id, value in sorted(self.by_class.items())}
        content = {"default": float(self.default), "by_class": by_class}
        fileio.write_file(path, yaml.safe_dump(content, sort_keys=False))


def find_thresholds(folders: Iterable[Path]) -> tuple[Path, Thresholds] | None:
    """Returns the first thresholds.yaml in the folders, with its path; None if there is none.

    Raises:
      DataError: it contains no thresholds.
    """
    for folder in folders:
        if (folder / THRESHOLDS).is_file():
            return folder / THRESHOLDS, read_thresholds(folder / THRESHOLDS)
    return None


def read_thresholds(path: Path) -> Thresholds:
    """Returns the thresholds of a YAML file.

    Raises:
      DataError: the file is not such a file.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        by_class = {int(class_id): float(value) for class_id, value in (content.get("by_class") or {}).items()}
        return Thresholds(float(content["default"]), by_class)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} must contain score thresholds: `default: 0.4` and `by_class:` with `id: score` lines. It cannot "
            f"be read: {error}."
        ) from error
