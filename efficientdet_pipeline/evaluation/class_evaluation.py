"""class_evaluation.json: an evaluation by classes, of pixels or of images, from which its report is made again."""

import base64
import binascii
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.evaluation.metrics import Metrics
from tfrmod import fileio

FILE_NAME = "class_evaluation.json"
NUM_WORST = 12
"""Images of a report."""
_LONGEST_SIDE = 1200
"""Of a kept picture, in pixels."""


@dataclass(frozen=True, kw_only=True)
class WorstImage:
    """One of the images on which a network does worst, drawn with truth and prediction."""

    name: str
    """Of its file."""
    note: str
    """What is wrong, in words."""
    jpeg: bytes


@dataclass(frozen=True, kw_only=True)
class ClassEvaluation:
    """How often each class was taken for each other one, the numbers that follow, and the worst images."""

    unit: str
    """What is counted: pixels, or images."""
    metrics: Metrics
    names: tuple[str, ...]
    """Classes by column, (k,)."""
    confusion: np.ndarray
    """(k, k) int64, rows truth, columns prediction."""
    num_images: int
    worst: tuple[WorstImage, ...] = ()
    """The worst first."""
    facts: Mapping[str, str | float] = field(default_factory=dict)
    """What was evaluated on what: checkpoint, epoch, data."""

    @property
    def shares(self) -> np.ndarray:
        """Returns the confusion matrix divided by its rows."""
        return self.confusion / np.maximum(self.confusion.sum(axis=1, keepdims=True), 1)

    def most_confused(self, limit: int) -> list[tuple[str, str, int]]:
        """Returns (true class, predicted class, times) of the most frequent confusions."""
        between = self.confusion * ~np.eye(len(self.names), dtype=bool)
        order = np.argsort(-between.ravel(), kind="stable")[:limit]
        pairs = [divmod(int(place), len(self.names)) for place in order]
        return [
            (self.names[row], self.names[column], int(between[row, column]))
            for row, column in pairs
            if between[row, column]
        ]


def jpeg_of(picture: np.ndarray) -> bytes:
    """Returns a picture as JPEG, reduced where it is large; uint8 RGB (h, w, 3)."""
    image = Image.fromarray(picture)
    image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=85)
    return content.getvalue()


def write_class_evaluation(path: Path, evaluation: ClassEvaluation) -> None:
    """Writes an evaluation as JSON, whole or not at all."""
    metrics = evaluation.metrics
    content = {
        "unit": evaluation.unit,
        "values": dict(metrics.values),
        "primary": metrics.primary,
        "per_class": {name: dict(values) for name, values in metrics.per_class.items()},
        "names": evaluation.names,
        "confusion": evaluation.confusion.tolist(),
        "num_images": evaluation.num_images,
        "facts": dict(evaluation.facts),
        "worst": [
            {"name": each.name, "note": each.note, "jpeg": base64.b64encode(each.jpeg).decode("ascii")}
            for each in evaluation.worst
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    # Names of files may hold bytes that are no text.
    text = json.dumps(content, ensure_ascii=True)
    fileio.write_file(path, text + "\n")


def read_class_evaluation(path: Path) -> ClassEvaluation:
    """Returns an evaluation that `write_class_evaluation` wrote.

    Raises:
      FileNotFoundError: there is no such file.
      DataError: it is damaged, or something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = tuple(map(str, content["names"]))
        return ClassEvaluation(
            unit=str(content["unit"]),
            metrics=Metrics(content["values"], content["primary"], content["per_class"]),
            names=names,
            confusion=np.array(content["confusion"], np.int64).reshape(len(names), len(names)),
            num_images=int(content["num_images"]),
            worst=tuple(
                WorstImage(name=each["name"], note=each["note"], jpeg=base64.b64decode(each["jpeg"], validate=True))
                for each in content["worst"]
            ),
            facts=content["facts"],
        )
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise DataError(
            f"{path} must hold an evaluation by classes. Reading it failed with {type(error).__name__}: {error}. "
            "Evaluate again: --mode=eval writes it again."
        ) from error
