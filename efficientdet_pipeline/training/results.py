"""What each epoch gave: results.csv, and scalars and pictures for TensorBoard."""

import csv
import functools
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from tfrmod import atomic

COLUMNS = (
    "epoch step seconds learning_rate loss class_loss box_loss box_iou_loss reg_l2_loss "
    "AP AP50 AP75 APs APm APl ARmax1 ARmax10 ARmax100 ARs ARm ARl "
    "gradient_norm bad_steps_total photos_per_second data_wait"
).split()


class Results:
    """The run's results.csv: one row an epoch, empty cells where nothing was measured."""

    def __init__(self, path: Path):
        self.path = path
        self.rows: list[dict[str, Any]] = []

    def forget_from(self, epoch: int) -> None:
        """Takes up an existing file, without what was written of epoch number `epoch` (1-based) and later."""
        if not self.path.exists():
            return
        try:
            with open(self.path, encoding="utf-8", newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["epoch"]) < epoch]
        except (ValueError, KeyError, TypeError, csv.Error):
            aside = self.path.with_name(f"{self.path.name}.damaged")
            self.path.replace(aside)
            self.rows = []
            logging.warning("%s is no table of ours any more; it is kept as %s, and begun anew.", self.path, aside.name)

    def add(self, row: Mapping[str, Any]) -> None:
        """Adds an epoch's row and writes the file whole."""
        self.rows.append({name: _cell(row[name]) for name in COLUMNS if name in row})
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        atomic.write_file(self.path, text.getvalue())

    def columns(self) -> dict[str, list[tuple[int, float]]]:
        """Returns, for each column, the epochs that have a number there, with it."""
        return {
            name: [(int(row["epoch"]), float(row[name])) for row in self.rows if row.get(name) not in (None, "")]
            for name in COLUMNS
        }


def _cell(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


class Board:
    """TensorBoard's scalars and pictures, by step."""

    def __init__(self, folder: Path):
        self._folder = folder

    @functools.cached_property
    def _writer(self) -> Any:
        # Made with the first thing to write: whoever writes nothing leaves no file.
        return tf.summary.create_file_writer(str(self._folder))

    def write(self, values: Mapping[str, float], *, step: int) -> None:
        """Writes the values of a step and sends them to the disk."""
        with self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        self._writer.flush()

    def draw(self, pictures: Sequence[np.ndarray], *, name: str, step: int) -> None:
        """Writes pictures, each uint8 RGB of any size, under `name` and their number."""
        with self._writer.as_default(step=step):
            for number, picture in enumerate(pictures):
                tf.summary.image(f"{name}/{number}", picture[None])
        self._writer.flush()
