"""Loggers: results.csv, TensorBoard, and training curves."""

import csv
import functools
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from absl import logging

from efficientdet_pipeline.tasks.task import LogLayout
from tfrmod import fileio

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class CSVLogger:
    """CSV logger, results.csv: one row per epoch, with empty cells for missing values."""

    def __init__(self, path: Path, names: Sequence[str]):
        self.path, self.names = path, tuple(names)
        self.rows: list[dict[str, str | float]] = []

    def truncate_from_epoch(self, epoch: int) -> None:
        """Opens an existing file, removing the rows of epoch number `epoch` (1-based) and later."""
        if not self.path.exists():
            return
        try:
            with open(self.path, encoding="utf-8", newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["epoch"]) < epoch]
        except (ValueError, KeyError, TypeError, csv.Error):
            renamed = self.path.with_name(f"{self.path.name}.damaged")
            self.path.replace(renamed)
            self.rows = []
            logging.warning("%s is damaged; it was renamed to %s, and a new file is started.", self.path, renamed.name)

    def add(self, row: Mapping[str, float | str]) -> None:
        """Adds the row of an epoch and rewrites the file atomically."""
        self.rows.append({name: _cell(row[name]) for name in self.names if name in row})
        text = io.StringIO()
        writer = csv.DictWriter(text, self.names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        fileio.write_file(self.path, text.getvalue())

    def columns(self) -> dict[str, list[tuple[int, float]]]:
        """Returns (epoch, value) pairs by column, without empty cells."""
        return {
            name: [(int(row["epoch"]), float(row[name])) for row in self.rows if row.get(name) not in (None, "")]
            for name in self.names
        }


def _cell(value: float | str) -> float | str:
    return f"{value:.6g}" if isinstance(value, float) else value


class TensorBoardLogger:
    """TensorBoard logger: scalars and images by step."""

    def __init__(self, folder: Path):
        self._folder = folder

    @functools.cached_property
    def _writer(self) -> tf.summary.SummaryWriter:
        # Created on first use, so that no empty file is written.
        return tf.summary.create_file_writer(str(self._folder))

    def write(self, values: Mapping[str, float], *, step: int) -> None:
        """Writes the scalars of a step and flushes."""
        with self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        self._writer.flush()

    def draw(self, images: Sequence[np.ndarray], *, name: str, step: int) -> None:
        """Writes images, each uint8 RGB of any size, as `name/0`, `name/1` …"""
        with self._writer.as_default(step=step):
            for number, image in enumerate(images):
                tf.summary.image(f"{name}/{number}", image[None])
        self._writer.flush()


Curves = Mapping[str, Sequence[tuple[int, float]]]

_COLUMNS = 3
_INCHES = (4.2, 2.9)


def draw_curves(path: Path, curves: Curves, layout: LogLayout) -> None:
    """Draws the training curves, one panel per kind of value.

    Args:
      path: of the plot.
      curves: column of results.csv → (epoch, value); negative values are undefined.
      layout: panels, and the metric whose best epoch is marked.
    """
    # Not pyplot, which keeps its figures for the lifetime of the process; this may also run in any thread.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    panels = {title: {name: _points(curves, name) for name in names} for title, names in layout.panels.items()}
    panels = {title: lines for title, lines in panels.items() if any(lines.values())}
    if not panels:
        return
    epochs = [epoch for lines in panels.values() for points in lines.values() for epoch, _ in points]
    first, last = min(epochs), max(epochs)
    rows = math.ceil(len(panels) / _COLUMNS)
    figure = Figure(figsize=(_INCHES[0] * _COLUMNS, _INCHES[1] * rows), layout="constrained")
    FigureCanvasAgg(figure)
    subplots = figure.subplots(rows, _COLUMNS, squeeze=False).flat
    for (title, lines), axes in zip(panels.items(), subplots, strict=False):
        for name, points in lines.items():
            if points:
                marker = "o" if len(points) <= 30 else None
                axes.plot(*zip(*points, strict=True), marker=marker, markersize=3, linewidth=1.4, label=name)
        axes.set_title(title, fontsize="medium", loc="left")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        # The same range of epochs in all panels, also for an AP that was evaluated once.
        axes.set_xlim(first - 0.5, last + 0.5)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        if len(lines) > 1:
            axes.legend(fontsize="small", loc="best")
        if lines.get(layout.primary):
            _mark_best(axes, lines[layout.primary], layout.primary)
    for axes in subplots:
        axes.set_axis_off()
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    fileio.write_file(path, image.getvalue())


def _mark_best(axes: "Axes", points: Sequence[tuple[int, float]], name: str) -> None:
    """Marks the epoch with the highest value, the best checkpoint."""
    epoch, best = max(points, key=lambda point: (point[1], -point[0]))
    axes.axvline(epoch, color="0.6", linestyle=":", linewidth=1)
    axes.set_title(f"best: epoch {epoch}, {name} {best:.3f}", fontsize="small", loc="right")


def _points(curves: Curves, name: str) -> list[tuple[int, float]]:
    return [(epoch, value) for epoch, value in curves.get(name, ()) if value >= 0]
