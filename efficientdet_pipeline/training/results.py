"""What each epoch gave: results.csv, and scalars for TensorBoard."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrmod import atomic

COLUMNS = (
    "epoch step seconds learning_rate loss class_loss box_loss box_iou_loss reg_l2_loss "
    "AP AP50 AP75 APs APm APl ARmax1 ARmax10 ARmax100 ARs ARm ARl"
).split()


class Results:
    """The run's results.csv: one row an epoch, empty cells where nothing was measured."""

    def __init__(self, path: Path):
        self.path = path
        self.rows: list[dict[str, Any]] = []

    def forget_from(self, epoch: int) -> None:
        """Takes up an existing file, without what was written of epoch number `epoch` (1-based) and later."""
        if self.path.exists():
            with open(self.path, encoding="utf-8", newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["epoch"]) < epoch]

    def add(self, row: Mapping[str, Any]) -> None:
        """Adds an epoch's row and writes the file whole."""
        self.rows.append({name: _cell(row[name]) for name in COLUMNS if name in row})
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        atomic.write_file(self.path, text.getvalue())


def _cell(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


class Scalars:
    """TensorBoard's scalars, by step."""

    def __init__(self, folder: Path):
        self._writer = tf.summary.create_file_writer(str(folder))

    def write(self, values: Mapping[str, float], *, step: int) -> None:
        """Writes the values of a step and sends them to the disk."""
        with self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        self._writer.flush()
