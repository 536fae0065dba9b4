"""Feature pyramid networks as graphs: the input maps of each node.

Feature maps are numbered: first the inputs, lowest level first, then the output
of each node in the order of the graph. A node has a level and the numbers of its
input maps; any map with a lower number is valid. The last node of a level is
that level's output.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Node(NamedTuple):
    """A feature map computed from earlier ones."""

    level: int
    inputs: tuple[int, ...]
    weight_method: str | None = None
    """One of `WEIGHT_METHODS`; None: the network's."""
    path: int | None = None
    """Index of the parallel path of the node; None for a node outside of them."""


Graph = tuple[Node, ...]


class _Drawing:
    """A graph under construction, with the numbers of the maps of each level."""

    def __init__(self, min_level: int, max_level: int, nodes: Sequence[Node] = (), path: int | None = None) -> None:
        self.nodes: list[Node] = list(nodes)
        self.path = path
        self.made = {level: [number] for number, level in enumerate(range(min_level, max_level + 1))}

    def add(self, level: int, *inputs: int, weight_method: str | None = None) -> None:
        self.made[level].append(len(self.made) + len(self.nodes))
        self.nodes.append(Node(level, inputs, weight_method, self.path))

    def first(self, level: int) -> int:
        return self.made[level][0]

    def last(self, level: int) -> int:
        return self.made[level][-1]


def bifpn(min_level: int, max_level: int) -> Graph:
    """Returns the BiFPN, EfficientDet's neck: a top-down and a bottom-up pathway with skip connections.

    EfficientDet (Tan et al., 2020), figure 3.
    """
    drawing = _Drawing(min_level, max_level)
    _draw_bifpn(drawing, min_level, max_level)
    return tuple(drawing.nodes)


def _draw_bifpn(drawing: _Drawing, min_level: int, max_level: int) -> None:
    for level in range(max_level - 1, min_level - 1, -1):
        drawing.add(level, drawing.last(level), drawing.last(level + 1))
    for level in range(min_level + 1, max_level + 1):
        drawing.add(level, *drawing.made[level], drawing.last(level - 1))


def _draw_inverted_bifpn(drawing: _Drawing, min_level: int, max_level: int) -> None:
    """Adds a reversed BiFPN: first the bottom-up, then the top-down pathway."""
    for level in range(min_level + 1, max_level + 1):
        drawing.add(level, drawing.first(level), drawing.last(level - 1))
    # The top map of the bottom-up pathway is final, like the lowest map of the top-down pathway in a BiFPN.
    for level in range(max_level - 1, min_level, -1):
        drawing.add(level, *drawing.made[level], drawing.last(level + 1))
    drawing.add(min_level, drawing.first(min_level), drawing.last(min_level + 1))


def _draw_top_down(drawing: _Drawing, min_level: int, max_level: int) -> None:
    for level in range(max_level - 1, min_level - 1, -1):
        drawing.add(level, drawing.first(level), drawing.last(level + 1))


def _draw_bottom_up(drawing: _Drawing, min_level: int, max_level: int) -> None:
    for level in range(min_level + 1, max_level + 1):
        drawing.add(level, drawing.first(level), drawing.last(level - 1))


def fpn(min_level: int, max_level: int) -> Graph:
    """Returns the top-down pyramid of Lin et al., 2017, "Feature Pyramid Networks for Object Detection"."""
    drawing = _Drawing(min_level, max_level)
    drawing.add(max_level, drawing.first(max_level))
    _draw_top_down(drawing, min_level, max_level)
    return tuple(drawing.nodes)


def pan(min_level: int, max_level: int) -> Graph:
    """Returns the path aggregation network of Liu et al., 2018: top-down, then bottom-up, without skip connections."""
    drawing = _Drawing(min_level, max_level)
    _draw_top_down(drawing, min_level, max_level)
    for level in range(min_level + 1, max_level + 1):
        drawing.add(level, drawing.last(level), drawing.last(level - 1))
    return tuple(drawing.nodes)


def qufpn(min_level: int, max_level: int, *, joiner_weight_method: str | None = None) -> Graph:
    """Returns QuadFPN: a BiFPN and a reversed BiFPN on the same inputs, joined level by level.

    21 nodes between levels 3 and 7.

    Args:
      min_level: lowest level of the pyramid.
      max_level: highest level of the pyramid.
      joiner_weight_method: of the nodes that join both; None: the network's.
    """
    down_up = _Drawing(min_level, max_level)
    _draw_bifpn(down_up, min_level, max_level)
    up_down = _Drawing(min_level, max_level, down_up.nodes)
    _draw_inverted_bifpn(up_down, min_level, max_level)
    joined = _Drawing(min_level, max_level, up_down.nodes)
    for level in range(max_level, min_level - 1, -1):
        joined.add(level, down_up.last(level), up_down.last(level), weight_method=joiner_weight_method)
    return tuple(joined.nodes)


_PATHS = {
    "bifpn": (_draw_bifpn,),
    "inverted": (_draw_inverted_bifpn,),
    "top_down": (_draw_top_down,),
    "split": (_draw_top_down, _draw_bottom_up),
}
"""Kind of a path → the chains of nodes that it consists of; each chain has outputs of its own."""

PATH_KINDS = tuple(_PATHS)


def parallel(
    min_level: int, max_level: int, kinds: Sequence[str], *, input_edge: bool = False, chained: bool = False
) -> Graph:
    """Returns parallel paths on the same inputs, joined by one node per level.

    VFPN (google/automl pull request 580) with "bifpn" for each path. The nodes
    of path 0 come first, the joining nodes last, in level order.

    Args:
      min_level: lowest level of the pyramid.
      max_level: highest level of the pyramid.
      kinds: of each path, from `PATH_KINDS`.
      input_edge: whether each joining node also takes its level's input map, as
        its first input.
      chained: whether each joining node also takes the joined map of the level below, as its last input.
    """
    nodes: list[Node] = []
    outputs: dict[int, list[int]] = {level: [] for level in range(min_level, max_level + 1)}
    for path, kind in enumerate(kinds):
        for draw in _PATHS[kind]:
            drawing = _Drawing(min_level, max_level, nodes, path)
            draw(drawing, min_level, max_level)
            nodes = drawing.nodes
            for level, numbers in drawing.made.items():
                outputs[level] += numbers[-1:] if len(numbers) > 1 else []
    joined = _Drawing(min_level, max_level, nodes)
    for level in range(min_level, max_level + 1):
        first = [joined.first(level)] if input_edge or not outputs[level] else []
        below = [joined.last(level - 1)] if chained and level > min_level else []
        joined.add(level, *first, *outputs[level], *below)
    return tuple(joined.nodes)


WEIGHT_METHODS = ("fastattn", "attn", "channel_fastattn", "channel_attn", "sum")
"""Fusion methods of a node's inputs; `necks.fusion` has the formulas."""


def custom_graph(fpn_config: Mapping[str, Any], *, min_level: int, max_level: int) -> Graph:
    """Returns the custom graph of automl's `fpn_config`.

    Args:
      fpn_config: `{"nodes": [{"feat_level": 6, "inputs_offsets": [3, 4]}, …]}`,
        and `weight_method`, of all nodes or of one, to override the config's.
      min_level: lowest level of the pyramid.
      max_level: highest level of the pyramid.

    Raises:
      ValueError: a node takes a map that does not exist yet, a level has no
        node, or a weight method is unknown.
    """
    num_levels = max_level - min_level + 1
    graph = []
    nodes = fpn_config.get("nodes") or ()
    if not isinstance(nodes, (list, tuple)):
        raise ValueError(f"fpn_config.nodes must be a list of nodes. Received {nodes!r}.")
    for position, entry in enumerate(nodes):
        node = _custom_node(entry)
        if not node.inputs or not all(0 <= number < num_levels + position for number in node.inputs):
            raise ValueError(
                f"Node {position} of fpn_config must take maps 0 to {num_levels + position - 1}, the earlier ones. "
                f"Received inputs_offsets={list(node.inputs)}."
            )
        graph.append(node)
    levels = set(range(min_level, max_level + 1))
    if {node.level for node in graph} != levels:
        raise ValueError(
            f"fpn_config must have a node for each level {min_level} to {max_level}, and for no other. "
            f"Received nodes of levels {sorted({node.level for node in graph})}."
        )
    return tuple(graph)


def _custom_node(entry: Any) -> Node:
    try:
        inputs = tuple(int(number) for number in entry["inputs_offsets"])
        node = Node(int(entry["feat_level"]), inputs, entry.get("weight_method"))
    except (TypeError, KeyError, ValueError, AttributeError):
        raise ValueError(
            f"Each node of fpn_config must be like {{'feat_level': 6, 'inputs_offsets': [3, 4]}}. Received {entry!r}."
        ) from None
    if node.weight_method is not None and node.weight_method not in WEIGHT_METHODS:
        raise ValueError(
            f"weight_method of a node of fpn_config must be one of {', '.join(WEIGHT_METHODS)}. Received {entry!r}."
        )
    return node


class Edge(NamedTuple):
    """An input of a `Row`."""

    source: int
    """Number of the input map or row; rows are numbered after the input maps."""
    positions: tuple[int, ...]
    """Positions of this input among the inputs of the row's nodes: one position, or, if a node takes several lanes of
    the source, the position of each lane."""


class Row(NamedTuple):
    """Nodes of parallel paths that differ only in their weights and are computed together."""

    level: int
    nodes: tuple[int, ...]
    """Index of each node in the graph, one per lane (path)."""
    edges: tuple[Edge, ...]
    weight_method: str | None

    @property
    def num_inputs(self) -> int:
        """Returns the number of input maps of each node."""
        return sum(len(edge.positions) for edge in self.edges)


def parallel_rows(graph: Graph, num_inputs: int) -> tuple[Row, ...]:
    """Returns the graph with the corresponding nodes of equal paths grouped.

    Args:
      graph: no path has inputs from another path, as in the result of `parallel`.
      num_inputs: levels of the pyramid.
    """
    paths: dict[int, list[int]] = {}
    for index, node in enumerate(graph):
        if node.path is not None:
            paths.setdefault(node.path, []).append(index)
    alike: dict[tuple[Any, ...], list[list[int]]] = {}
    for indices in paths.values():
        place = {num_inputs + index: num_inputs + position for position, index in enumerate(indices)}
        shape = tuple(
            (graph[index].level, tuple(place.get(number, number) for number in graph[index].inputs))
            for index in indices
        )
        alike.setdefault(shape, []).append(indices)

    rows: list[Row] = []
    lane_of = {number: (number, 0) for number in range(num_inputs)}
    for lanes in alike.values():
        for nodes in zip(*lanes, strict=True):
            first = graph[nodes[0]]
            edges = [Edge(lane_of[number][0], (position,)) for position, number in enumerate(first.inputs)]
            rows.append(Row(first.level, nodes, tuple(edges), first.weight_method))
            lane_of |= {num_inputs + node: (num_inputs + len(rows) - 1, lane) for lane, node in enumerate(nodes)}
    for index, node in enumerate(graph):
        if node.path is None:
            sources: dict[int, list[int]] = {}
            for position, number in enumerate(node.inputs):
                sources.setdefault(lane_of[number][0], []).append(position)
            edges = [Edge(source, tuple(positions)) for source, positions in sources.items()]
            rows.append(Row(node.level, (index,), tuple(edges), node.weight_method))
            lane_of[num_inputs + index] = (num_inputs + len(rows) - 1, 0)
    return tuple(rows)
