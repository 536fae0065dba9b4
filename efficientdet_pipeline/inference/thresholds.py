"""Score thresholds, for all classes or per class, and the file that stores them with an export."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.inference.results import ImageDetections
from tfrmod import fileio

THRESHOLDS = "thresholds.yaml"
_SHOWN = 20


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


def class_id_of(word: str, label_map: Mapping[int, str]) -> int | None:
    """Returns the id of a class that is given by name or id; None if the label map does not have it.

    Args:
      label_map: class id to name; without one, every id is taken.
    """
    by_name = {name: class_id for class_id, name in label_map.items()}
    class_id = by_name.get(word, int(word) if word.isdecimal() else 0)
    return class_id if class_id >= 1 and (not label_map or class_id in label_map) else None


def listed_classes(label_map: Mapping[int, str], word: str) -> str:
    """Returns ids and names of classes as text, for a message; of many, those that resemble a wrong word come first."""
    classes = sorted(label_map.items())
    if len(classes) > _SHOWN:
        near = difflib.get_close_matches(word, label_map.values())
        classes.sort(key=lambda each: each[1] not in near and word not in each[1])
    names = [f"{class_id} {name}" for class_id, name in classes]
    listed = f"{', '.join(names[:_SHOWN])}{' …' if len(names) > _SHOWN else ''}" or "ids from 1, since it has no names"
    return listed + ("; by its id if its name has a comma" if any("," in name for name in label_map.values()) else "")


def scores_by_class(given: Mapping[str, float | str], label_map: Mapping[int, str]) -> dict[int, float]:
    """Returns minimum scores by class id, from scores by the name or id of a class.

    Raises:
      ValueError: a class or a score is none.
    """
    scores = {}
    for word, value in given.items():
        class_id = class_id_of(word, label_map)
        if class_id is None:
            raise ValueError(f"{word!r} is not a class of the detector; known: {listed_classes(label_map, word)}")
        try:
            scores[class_id] = float(value)
        except ValueError as error:
            raise ValueError(f"the score of {word!r} is {value!r}, which is not a number") from error
        if not 0.0 <= scores[class_id] <= 1.0:
            raise ValueError(f"the score of {word!r} is {value}, which is not between 0 and 1")
    return scores


def find_thresholds(
    folders: Iterable[Path], label_map: Mapping[int, str] | None = None
) -> tuple[Path, Thresholds] | None:
    """Returns the first thresholds.yaml in the folders, with its path; None if there is none.

    Args:
      label_map: as for `read_thresholds`.

    Raises:
      DataError: it contains no thresholds.
    """
    for folder in folders:
        if (folder / THRESHOLDS).is_file():
            return folder / THRESHOLDS, read_thresholds(folder / THRESHOLDS, label_map)
    return None


def read_thresholds(path: Path, label_map: Mapping[int, str] | None = None) -> Thresholds:
    """Returns the thresholds of a YAML file.

    Args:
      label_map: of the detector, by whose names the file may give the classes.

    Raises:
      DataError: the file is not such a file.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or "default" not in content:
            raise ValueError("it has no line `default:`")
        given = content.get("by_class") or {}
        if not isinstance(given, dict):
            raise ValueError("`by_class:` is not followed by such lines")
        by_class = scores_by_class({str(word): value for word, value in given.items()}, label_map or {})
        return Thresholds(float(content["default"]), by_class)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, ValueError, DataError) as error:
        reason = " ".join(str(error).rstrip(".").split())
        raise DataError(
            f"{path} must contain score thresholds: `default: 0.4`, and `by_class:` with lines of the id or name of a "
            f"class and its score, 0 to 1. It cannot be read: {reason}."
        ) from error
