"""Speeds by batch size as a table, as JSON, and as a chart."""

import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

from efficientdet_pipeline.benchmarking.bottleneck import LOADER, STEP, TOGETHER, Speeds, best_of, number
from tfrmod import fileio

_LABELS = {LOADER: "loader alone", STEP: "step alone", TOGETHER: "training"}
_COLORS = {LOADER: "#4c8bb5", STEP: "#e0a23c", TOGETHER: "#3f4a56"}
_INCHES = (7.2, 4.4)
_GROUP_INCHES = 1.4
_BAR = 0.27
# Ratio of bars above which the axis is logarithmic.
_WIDE = 20
_GIGABYTE = 1e9


def table(sweep: list[Speeds]) -> str:
    """Returns a line per batch size: images per second of each part, bottleneck, peak memory."""
    lines = [f"{'batch':>7} {'loader':>9} {'step':>9} {'training':>9}  {'bottleneck':10}  peak memory"]
    for each in sweep:
        rates = " ".join(f"{number(rate):>9}" for rate in (each.loader, each.step, each.together))
        lines.append(f"{each.batch_size:7} {rates}  {each.bottleneck:10}  {', '.join(_memory(each))}")
    return "\n".join(lines)


def figures(sweep: list[Speeds], *, ended: str, conclusion: list[str], about: dict[str, Any]) -> dict[str, Any]:
    """Returns all results as a JSON object.

    Args:
      sweep: at least one batch size.
      ended: reason why larger batch sizes were not measured; empty if all were.
      conclusion: sentences.
      about: settings and machine.
    """
    best = best_of(sweep)
    return {
        "unit": "images per second",
        "sweep": [{**asdict(each), "bottleneck": each.bottleneck, "reached": each.reached} for each in sweep],
        "ended": ended,
        "best": {"batch_size": best.batch_size, "together": best.together, "bottleneck": best.bottleneck},
        "conclusion": conclusion,
        **about,
    }


def draw(path: Path, sweep: list[Speeds], *, title: str, conclusion: str) -> None:
    """Draws a bar chart as PNG: three bars per batch size, with the conclusion below."""
    # Not pyplot, which keeps its figures for the lifetime of the process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = _INCHES
    figure = Figure(figsize=(max(width, _GROUP_INCHES * len(sweep)), height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for place, (part, label) in enumerate(_LABELS.items(), start=-1):
        heights = [getattr(each, part) for each in sweep]
        middles = [group + place * _BAR for group in range(len(sweep))]
        bars = axes.bar(middles, heights, _BAR, label=label, color=_COLORS[part])
        axes.bar_label(bars, [number(height) for height in heights], fontsize="small", padding=2)
    names = ["\n".join([str(each.batch_size), each.bottleneck, *_memory(each)]) for each in sweep]
    axes.set_xticks(range(len(sweep)), names)
    axes.set_xlabel("batch size, bottleneck, peak memory")
    rates = [getattr(each, part) for each in sweep for part in _LABELS]
    is_wide = max(rates) > _WIDE * min(rates)
    axes.set_ylabel(f"images per second{' (logarithmic)' if is_wide else ''}")
    if is_wide:
        axes.set_yscale("log")
        axes.set_ylim(min(rates) / 3, max(rates) * 3)
    axes.set_title(title, fontsize="medium", loc="left")
    axes.margins(y=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside upper right", ncols=len(_LABELS), fontsize="small", frameon=False)
    figure.supxlabel(conclusion, fontsize="small", wrap=True)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    fileio.write_file(path, image.getvalue())


def _memory(each: Speeds) -> list[str]:
    sizes = {"GPU": each.device_bytes, "host": each.host_bytes}
    return [f"{name} {size / _GIGABYTE:.1f} GB" for name, size in sizes.items() if size is not None]
