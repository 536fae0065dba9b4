"""SVG charts for the report, styled by its theme."""

import math
from collections.abc import Sequence

import numpy as np

from efficientdet_pipeline.report.contents import Chart, Series
from efficientdet_pipeline.report.markup import tag, text

WIDTH, HEIGHT = 520, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 14, 12, 46
NUM_COLORS = 8
"""Classes .s0 to .s7 of the style sheet; further lines are grey."""
_MAX_POINTS = 400


def line_chart(
    chart: Chart,
    *,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    bold: str = "",
    has_legend: bool = True,
) -> str:
    """Returns a line chart.

    Args:
      chart: the data.
      x_range: limits of the axis; None takes those of the values.
      y_range: likewise.
      bold: name of the highlighted line.
      has_legend: whether to list the names of the first `NUM_COLORS` lines.
    """
    frame = _Frame(x_range or _extent([v for s in chart.series for v in s.x]), y_range or _y_extent(chart.series))
    lines = [
        _line(series, frame, place, is_bold=series.name == bold)
        for place, series in sorted(enumerate(chart.series), key=lambda each: each[1].name == bold)
    ]
    label = f"{chart.title}: {chart.y_label} over {chart.x_label}. {_summary(chart.series)}"
    drawing = _drawing(frame, chart.x_label, chart.y_label, "".join(lines), label)
    names = [(each.name, _color(place, is_bold=each.name == bold)) for place, each in enumerate(chart.series)]
    legend = _legend([each for each in names if each[1] != "rest"]) if has_legend and len(names) > 1 else ""
    return tag("figure", tag("figcaption", text(chart.title)) + drawing + legend, class_="chart")


def stacked_bars(
    title: str, x_label: str, y_label: str, edges: np.ndarray, layers: Sequence[tuple[str, np.ndarray]]
) -> str:
    """Returns a histogram; `edges` (u + 1,), each layer (name, (u,) counts), the first at the bottom."""
    total = np.sum([values for _, values in layers], axis=0)
    frame = _Frame((float(edges[0]), float(edges[-1])), (0.0, max(1.0, float(total.max(initial=0)))))
    bottom = np.zeros(len(edges) - 1)
    bars = []
    for place, (name, values) in enumerate(layers):
        for left, right, low, value in zip(edges, edges[1:], bottom, values, strict=False):
            if value:
                x, y = frame.x(float(left)), frame.y(float(low + value))
                width, height = frame.x(float(right)) - x - 1, frame.y(float(low)) - y
                hint = tag("title", text(f"{left:.2f} to {right:.2f}: {int(value):,} {name}"))
                bars.append(
                    tag(
                        "rect",
                        hint,
                        class_=f"s{place}",
                        x=_short(x),
                        y=_short(y),
                        width=_short(width),
                        height=_short(height),
                    )
                )
        bottom = bottom + values
    counts = ", ".join(f"{int(values.sum()):,} {name}" for name, values in layers)
    drawing = _drawing(frame, x_label, y_label, "".join(bars), f"{title}: {counts}.")
    legend = _legend([(name, f"s{place}") for place, (name, _) in enumerate(layers)]) if len(layers) > 1 else ""
    return tag("figure", tag("figcaption", text(title)) + drawing + legend, class_="chart")


def reliability_chart(title: str, edges: np.ndarray, precision: np.ndarray, counts: np.ndarray) -> str:
    """Returns bars of the precision in each score bin, with the diagonal; NaN has no bar."""
    frame = _Frame((0.0, 1.0), (0.0, 1.0))
    bars = []
    for left, right, value, count in zip(edges, edges[1:], precision, counts, strict=False):
        if math.isfinite(value):
            x, y = frame.x(float(left)), frame.y(float(value))
            hint = tag("title", text(f"score {left:.2f} to {right:.2f}: {value:.0%} of {int(count):,} correct"))
            width, height = frame.x(float(right)) - x - 1, frame.y(0.0) - y
            bars.append(
                tag("rect", hint, class_="s0", x=_short(x), y=_short(y), width=_short(width), height=_short(height))
            )
    ideal = tag(
        "path",
        class_="ideal",
        d=f"M{_short(frame.x(0))} {_short(frame.y(0))}L{_short(frame.x(1))} {_short(frame.y(1))}",
    )
    drawing = _drawing(
        frame, "score", "share of correct detections", "".join(bars) + ideal, f"{title}, by bins of scores."
    )
    return tag("figure", tag("figcaption", text(title)) + drawing, class_="chart")


class _Frame:
    """Maps values to coordinates in the drawing."""

    def __init__(self, x_range: tuple[float, float], y_range: tuple[float, float]):
        self.x_range, self.y_range = (_widened(*each) for each in (x_range, y_range))

    def x(self, value: float) -> float:
        low, high = self.x_range
        return _LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return HEIGHT - _BOTTOM - (value - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM)


def _drawing(frame: _Frame, x_label: str, y_label: str, content: str, label: str) -> str:
    grid, ticks = [], []
    for value in _ticks(*frame.x_range):
        x = _short(frame.x(value))
        ticks.append(tag("text", text(f"{value:g}"), x=x, y=HEIGHT - _BOTTOM + 16, text_anchor="middle"))
    for value in _ticks(*frame.y_range):
        y = frame.y(value)
        grid.append(tag("path", class_="grid", d=f"M{_LEFT} {_short(y)}H{WIDTH - _RIGHT}"))
        ticks.append(tag("text", text(_count(value)), x=_LEFT - 6, y=_short(y + 4), text_anchor="end"))
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    x_title = tag("text", text(x_label), class_="axis", x=_short(middle), y=HEIGHT - 6, text_anchor="middle")
    turned = f"translate(12 {(HEIGHT - _BOTTOM + _TOP) // 2}) rotate(-90)"
    y_title = tag("text", text(y_label), class_="axis", transform=turned, text_anchor="middle")
    inner = "".join(grid) + content + "".join(ticks) + x_title + y_title
    return tag("svg", inner, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=label)


def _line(series: Series, frame: _Frame, place: int, *, is_bold: bool) -> str:
    points = list(zip(series.x, series.y, strict=True))
    if len(points) > _MAX_POINTS:
        chosen = np.unique(np.linspace(0, len(points) - 1, _MAX_POINTS).astype(int))
        points = [points[index] for index in chosen.tolist()]
    parts, is_open = [], False
    for x, y in points:
        if math.isfinite(x) and math.isfinite(y):
            parts.append(f"{'L' if is_open else 'M'}{_short(frame.x(x))} {_short(frame.y(y))}")
        is_open = math.isfinite(x) and math.isfinite(y)
    color = _color(place, is_bold=is_bold)
    lone = sum(part.startswith("M") for part in parts) == len(parts)
    d = "".join(part + ("h.01" if lone else "") for part in parts)
    kind = f"line {color} points" if lone else f"line {color}"
    return tag("path", tag("title", text(series.name)), class_=kind, d=d, data_name=series.name)


def _color(place: int, *, is_bold: bool) -> str:
    """Returns the class of a line in the style sheet."""
    return "bold" if is_bold else f"s{place}" if place < NUM_COLORS else "rest"


def _legend(names: Sequence[tuple[str, str]]) -> str:
    """Returns the legend from (name, class in the style sheet) of each line or layer."""
    keys = (tag("li", tag("span", "", class_=f"key {color}") + text(name)) for name, color in names)
    return tag("ul", "".join(keys), class_="legend")


def _summary(series: Sequence[Series]) -> str:
    ends = []
    for each in series[:4]:
        finite = [y for y in each.y if math.isfinite(y)]
        if finite:
            ends.append(f"{each.name} ends at {finite[-1]:.3g}")
    return "; ".join(ends)


def _y_extent(series: Sequence[Series]) -> tuple[float, float]:
    low, high = _extent([value for each in series for value in each.y])
    # A loss that starts at a hundred times its later value would hide the rest.
    pooled = np.array([value for each in series for value in each.y if math.isfinite(value)])
    if len(pooled) > 20:
        high = min(high, 1.5 * float(np.quantile(pooled, 0.97)))
    return (0.0 if 0 <= low < 0.5 * high else low), max(high, low)


def _extent(values: Sequence[float]) -> tuple[float, float]:
    finite = [value for value in values if math.isfinite(value)]
    return (min(finite), max(finite)) if finite else (0.0, 1.0)


def _widened(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _ticks(low: float, high: float) -> list[float]:
    """Returns about five round tick values from low to high."""
    raw = (high - low) / 5
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 10) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _count(value: float) -> str:
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"


def _short(value: float) -> str:
    return f"{value:.1f}"
