"""Drawings of feature pyramid graphs: levels as rows, nodes in the order of computation."""

import math
import pathlib
from collections.abc import Sequence
from typing import Final

from efficientdet.necks.fpn_graphs import Graph
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from matplotlib.path import Path

from efficientdet_pipeline.visualize.boxes import class_color

_RADIUS: Final = 0.28
_INCHES: Final = 0.55
"""Horizontal distance of nodes."""
_LEVEL_INCHES: Final = 0.8
"""Vertical distance of levels."""
_MIN_INCHES: Final = 4.0
_MAX_INCHES: Final = 60.0
"""Width beyond which a drawing is compressed, and of the smallest, which a title must fit in."""
_STRAIGHT: Final = 2.0
"""Longest horizontal distance of a straight edge to another level, in nodes."""
_INPUT_LANE, _NODE_LANE, _CROSSING_LANE = 0.36, 0.46, 0.42
"""Distance of a lane from its level: of edges from an input, from another node, and to another level."""


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
    width = max(max(x for x, _ in positions) + 1.5, _MIN_INCHES / _INCHES)
    scale = min(_INCHES, _MAX_INCHES / width)
    num_levels = len({*levels, *(node.level for node in graph)})
    figure = Figure(figsize=(width * scale, max(2.0, (num_levels + 0.8) * _LEVEL_INCHES)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for target, node in enumerate(graph, start=len(levels)):
        for source in node.inputs:
            _arrow(axes, positions[source], positions[target], is_input=source < len(levels))
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


def save_graph(path: pathlib.Path, graph: Graph, levels: Sequence[int], *, title: str = "") -> pathlib.Path:
    """Writes the drawing as PNG, SVG or PDF, by file extension, and returns the path.

    Raises:
      ValueError: the extension is none of these.
    """
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise ValueError(f"A drawing of a graph must end in .png, .svg or .pdf. Received {str(path)!r}.")
    figure = graph_figure(graph, levels, title=title)
    figure.savefig(path, dpi=150)
    return path


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], *, is_input: bool) -> None:
    """Draws an edge: straight to a neighbour, otherwise along a lane between the levels, where no nodes are."""
    (x0, y0), (x1, y1) = start, end
    length = x1 - x0
    if length <= 1.0 or (y0 != y1 and length <= _STRAIGHT):
        share = _RADIUS / math.hypot(length, (y1 - y0) * _LEVEL_INCHES / _INCHES)
        ends = [(x0 + part * length, y0 + part * (y1 - y0)) for part in (share, 1.0 - 1.15 * share)]
        path = Path(ends, [Path.MOVETO, Path.LINETO])
    else:
        path = _lane(start, end, is_input=is_input)
    patch = FancyArrowPatch(
        path=path, arrowstyle="-|>", mutation_scale=7, linewidth=0.7, fill=False, color=(0.35, 0.35, 0.35), zorder=1
    )
    axes.add_patch(patch)


def _lane(start: tuple[float, float], end: tuple[float, float], *, is_input: bool) -> Path:
    """Returns the way from a node into the lane beside its level, and from there to another node.

    Edges of one level run above it, those to another level on the side of that
    level, so that the edges from one node to all parallel paths are one line.
    """
    (x0, y0), (x1, y1) = start, end
    side = -1.0 if y1 < y0 else 1.0
    own_lane = _INPUT_LANE if is_input else _NODE_LANE
    lane = y0 + (own_lane if y0 == y1 else side * _CROSSING_LANE)
    across = _RADIUS * math.cos(math.pi / 6)
    along = _RADIUS * math.sin(math.pi / 6) * _INCHES / _LEVEL_INCHES
    from_above = 1.0 if lane > y1 else -1.0
    begins, ends = (x0 + across, y0 + side * along), (x1 - 1.15 * across, y1 + from_above * 1.15 * along)
    places = [
        begins,
        *((x0 + 0.4, lane), (x0 + 0.6, lane), (x0 + 1.0, lane)),
        (x1 - 1.0, lane),
        *((x1 - 0.6, lane), (x1 - 0.5, (lane + ends[1]) / 2), ends),
    ]
    return Path(places, [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3])
