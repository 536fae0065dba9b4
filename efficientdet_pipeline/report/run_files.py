"""Curves and progress of a run from its results.csv, also while it is being written."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from efficientdet_pipeline.report.contents import Chart, Series

_CHARTS = (
    ("Loss", "loss", {"loss": "training", "val_loss": "validation"}),
    ("Class loss", "loss", {"class_loss": "class", "val_class_loss": "class, validation"}),
    ("Box loss", "loss", {"box_loss": "box", "val_box_loss": "box, validation", "box_iou_loss": "overlap"}),
    (
        "Terms of the loss",
        "loss",
        {name + "_loss": name.replace("_", " ") for name in ("cross_entropy", "bce", "dice", "focal")},
    ),
    ("Mean IoU and Dice", "share", {"mIoU": "mean IoU", "Dice": "Dice", "boundary_F1": "boundary F1"}),
    ("Accuracy of pixels", "share", {"pixel_accuracy": "all pixels", "mean_accuracy": "mean over classes"}),
    ("Accuracy", "share", {"accuracy": "accuracy", "top5": "top-5", "balanced_accuracy": "mean over classes"}),
    ("Average precision", "AP", {"AP": "AP", "AP50": "AP50", "AP75": "AP75"}),
    ("AP by size", "AP", {"APs": "small", "APm": "medium", "APl": "large"}),
    ("Learning rate", "learning rate", {"learning_rate": "learning rate"}),
    ("Norm of the gradient", "norm", {"gradient_norm": "gradient norm"}),
    ("Speed", "images per second", {"photos_per_second": "training", "images_per_second": "training"}),
)
_UNDEFINED_BELOW = {
    *("AP", "AP50", "AP75", "APs", "APm", "APl", "mIoU", "Dice", "boundary_F1", "pixel_accuracy", "mean_accuracy"),
    *("accuracy", "top5", "balanced_accuracy"),
}


@dataclass(frozen=True)
class Progress:
    """Progress of a training."""

    epoch: int
    num_epochs: int
    """0 if unknown."""
    seconds_per_epoch: float
    """0 if unknown."""

    @property
    def seconds_left(self) -> float | None:
        """Returns the estimated time to the last epoch; None if unknown."""
        if not self.num_epochs or not self.seconds_per_epoch:
            return None
        return max(0, self.num_epochs - self.epoch) * self.seconds_per_epoch

    def __str__(self) -> str:
        """Returns the progress as text.

        >>> str(Progress(3, 10, 61))
        'epoch 3 of 10, about 7 min left'
        """
        total = f" of {self.num_epochs}" if self.num_epochs else ""
        left = self.seconds_left
        if left is None:
            return f"epoch {self.epoch}{total}"
        return f"epoch {self.epoch}{total}, " + (f"about {_duration(left)} left" if left else "finished")


def read_rows(path: Path) -> list[dict[str, str]]:
    """Returns the rows of results.csv; empty if the file is missing or invalid."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return [row for row in csv.DictReader(file) if _number(row.get("epoch")) is not None]
    except (OSError, csv.Error, UnicodeDecodeError):
        return []


def training_charts(rows: Sequence[Mapping[str, str]]) -> list[Chart]:
    """Returns the curves of a run by epoch; columns without values are left out."""
    charts = []
    for title, y_label, columns in _CHARTS:
        series = []
        for column, name in columns.items():
            points = [(_number(row["epoch"]), _number(row.get(column))) for row in rows]
            known = [
                (x, y)
                for x, y in points
                if x is not None and y is not None and not (column in _UNDEFINED_BELOW and y < 0)
            ]
            if known:
                series.append(Series(name, [x for x, _ in known], [y for _, y in known]))
        if series:
            charts.append(Chart(title, "epoch", y_label, series))
    return charts


def progress(rows: Sequence[Mapping[str, str]], *, num_epochs: int = 0) -> Progress:
    """Returns the progress of a run; the time is estimated from its last five epochs."""
    seconds = [value for row in rows[-5:] if (value := _number(row.get("seconds")))]
    last = _number(rows[-1]["epoch"]) if rows else None
    return Progress(int(last or 0), num_epochs, sum(seconds) / len(seconds) if seconds else 0.0)


def _number(cell: str | None) -> float | None:
    """Returns a cell as a number; a non-finite loss is kept, so that its line has a gap."""
    try:
        return float(cell) if cell not in (None, "") else None
    except (TypeError, ValueError):
        return None


def _duration(seconds: float) -> str:
    minutes = math.ceil(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
