"""results.png: how losses, average precision and learning rate went, by epoch."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfrmod import atomic

Curves = Mapping[str, Sequence[tuple[int, float]]]

# The parts of the loss differ by two orders of magnitude: each has a panel of its own.
_PANELS = {
    "loss": ("loss",),
    "class loss": ("class_loss",),
    "box loss": ("box_loss",),
    "overlap loss": ("box_iou_loss",),
    "average precision": ("AP", "AP50", "AP75"),
    "learning rate": ("learning_rate",),
}
_COLUMNS = 3
_INCHES = (4.2, 2.9)


def draw_curves(path: Path, curves: Curves) -> None:
    """Draws a panel for each kind of numbers that are there.

    Args:
      curves: column of results.csv → (epoch, value); negative values mean that nothing was there to measure.
    """
    # Not pyplot: it keeps its figures for the whole process, and this may run in any thread.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    panels = {title: {name: _points(curves, name) for name in names} for title, names in _PANELS.items()}
    panels = {title: lines for title, lines in panels.items() if any(lines.values())}
    if not panels:
        return
    epochs = [epoch for lines in panels.values() for points in lines.values() for epoch, _ in points]
    first, last = min(epochs), max(epochs)
    rows = math.ceil(len(panels) / _COLUMNS)
    figure = Figure(figsize=(_INCHES[0] * _COLUMNS, _INCHES[1] * rows), layout="constrained")
    FigureCanvasAgg(figure)
    places = figure.subplots(rows, _COLUMNS, squeeze=False).flat
    for (title, lines), axes in zip(panels.items(), places, strict=False):
        for name, points in lines.items():
            if points:
                marker = "o" if len(points) <= 30 else None
                axes.plot(*zip(*points, strict=True), marker=marker, markersize=3, linewidth=1.4, label=name)
        axes.set_title(title, fontsize="medium", loc="left")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        # One range for all panels: an average precision measured once would otherwise stand on a range of its own.
        axes.set_xlim(first - 0.5, last + 0.5)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        if len(lines) > 1:
            axes.legend(fontsize="small", loc="best")
        if lines.get("AP"):
            _mark_best(axes, lines["AP"])
    for axes in places:
        axes.set_axis_off()
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    atomic.write_file(path, image.getvalue())


def _mark_best(axes: Any, points: Sequence[tuple[int, float]]) -> None:
    """Names the epoch with the highest AP, whose weights the run keeps as its best."""
    epoch, best = max(points, key=lambda point: (point[1], -point[0]))
    axes.axvline(epoch, color="0.6", linestyle=":", linewidth=1)
    axes.set_title(f"best: epoch {epoch}, AP {best:.3f}", fontsize="small", loc="right")


def _points(curves: Curves, name: str) -> list[tuple[int, float]]:
    return [(epoch, value) for epoch, value in curves.get(name, ()) if value >= 0]
