"""Drawings of feature pyramid graphs: levels as rows, nodes in the order of computation."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from efficientdet.necks.fpn_graphs import Graph
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from efficientdet_pipeline.visualize.boxes import class_color

_RADIUS: Final = 0.28
_INCHES: Final = 0.55
"""Horizontal distance of nodes."""
_MAX_INCHES: Final = 60.0
"""Width beyond which a drawing is compressed."""


def node_positions(graph: Graph, levels: Sequence[int]) -> list[tuple[float, float]]:
    """Returns (x, y) of every feature map of the graph, the inputs first.

    A node is right of all feature maps that it fuses, and of those of its level;
    the first node of each parallel path is right of the path before it.
    """
    positions: list[tuple[float, float]] = [(0.0, float(level)) for level in levels]
    last_of_level = dict.fromkeys([*levels, *(node.level for node in graph)], 0.0)
    path, start = None, 0.0
    for node in graph:
        if node.path != path:
            path, start = node.path, max(x for x, _ in positions)
        x = max(start, last_of_level[node.level], *(positions[number][0] for number in node.inputs)) + 1.0
        positions.append((x, float(node.level)))
        last_of_level[node.level] = x
    return positions


def graph_figure(graph: Graph, levels: Sequence[int], *, title: str = "") -> Figure:
    """Returns the drawing of one cell of a neck.

    Inputs are on the left, the outputs of the levels have a bold outline, and
    the nodes of one parallel path share a colour.

    Args:
      graph: as `DetectorConfig.graph` has it.
      levels: of the maps that it begins with, lowest first.
      title: above the drawing.
    """
    positions = node_positions(graph, levels)
    width = max(x for x, _ in positions) + 1.5
    scale = min(_INCHES, _MAX_INCHES / width)
    num_levels = len({*levels, *(node.level for node in graph)})
    figure = Figure(figsize=(max(4.0, width * scale), max(2.0, (num_levels + 0.8) * 0.8)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for target, node in enumerate(graph, start=len(levels)):
        for source in node.inputs:
            _arrow(axes, positions[source], positions[target], radius=_RADIUS * 72 * scale)
    outputs = {node.level: number for number, node in enumerate(graph, start=len(levels))}
    for number, (x, y) in enumerate(positions):
        path = graph[number - len(levels)].path if number >= len(levels) else None
        is_input = number < len(levels)
        color = tuple(channel / 255 for channel in class_color((path or 0) + 1))
        face = (0.88, 0.88, 0.88) if is_input else color
        line = 2.4 if number in outputs.values() else 0.8
        axes.plot(x, y, "o", markersize=2 * _RADIUS * 72 * scale, mfc=face, mec="black", mew=line, zorder=3)
        axes.annotate(str(number), (x, y), ha="center", va="center", fontsize=max(3.0, 13 * scale), zorder=4)
    every = sorted({*levels, *(node.level for node in graph)})
    axes.set_yticks(every, [f"P{level}" for level in every])
    axes.set_xticks([])
    axes.set_xlim(-0.8, width - 0.5)
    axes.set_ylim(every[0] - 0.6, every[-1] + 0.9)
    for side in ("top", "right", "bottom", "left"):
        axes.spines[side].set_visible(False)
    if title:
        axes.set_title(title, fontsize=10)
    return figure


def save_graph(path: Path, graph: Graph, levels: Sequence[int], *, title: str = "") -> Path:
    """Writes the drawing as PNG, SVG or PDF, by file extension, and returns the path.

    Raises:
      ValueError: the extension is none of these.
    """
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise ValueError(f"A drawing of a graph must end in .png, .svg or .pdf. Received {str(path)!r}.")
    figure = graph_figure(graph, levels, title=title)
    figure.savefig(path, dpi=150)
    return path


def _arrow(axes: object, start: tuple[float, float], end: tuple[float, float], *, radius: float) -> None:
    """Draws an edge; along a level it is curved around the nodes in between."""
    is_level = start[1] == end[1] and end[0] - start[0] > 1.0
    bend = -min(0.35, 1.2 / math.sqrt(end[0] - start[0] + 1)) if is_level else 0.0
    patch = FancyArrowPatch(
        start,
        end,
        arrowstyle="-|>",
        connectionstyle=f"arc3,rad={bend}",
        mutation_scale=7,
        shrinkA=radius,
        shrinkB=radius + 1.5,
        linewidth=0.7,
        color=(0.35, 0.35, 0.35),
        zorder=1,
    )
    axes.add_patch(patch)  # type: ignore[attr-defined]
