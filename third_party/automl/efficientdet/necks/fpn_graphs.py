"""Feature pyramid networks as data: which maps flow into which.

A graph is read like a recipe. Every feature map has a number: first the
backbone's maps, lowest level first, then one more for each node as it is made.
A node names its level and the numbers of the maps it joins; it may join any
map made before it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Node(NamedTuple):
    """A feature map made of earlier ones."""

    level: int
    inputs: tuple[int, ...]


Graph = tuple[Node, ...]


class _Drawing:
    """A graph being drawn, and what has been made so far of each level."""

    def __init__(self, min_level: int, max_level: int) -> None:
        self.nodes: list[Node] = []
        self.made = {level: [number] for number, level in enumerate(range(min_level, max_level + 1))}

    def add(self, level: int, *inputs: int) -> None:
        self.made[level].append(len(self.made) + len(self.nodes))
        self.nodes.append(Node(level, inputs))

    def first(self, level: int) -> int:
        return self.made[level][0]

    def last(self, level: int) -> int:
        return self.made[level][-1]


def bifpn(min_level: int, max_level: int) -> Graph:
    """Returns EfficientDet's neck: down the pyramid, then up, all maps of a level joined.

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


def qufpn(min_level: int, max_level: int) -> Graph:
    """Returns QuadFPN: a BiFPN and its mirror image on the same inputs, joined level by level."""
    down_up = _Drawing(min_level, max_level)
    _draw_bifpn(down_up, min_level, max_level)

    up_down = _Drawing(min_level, max_level)
    up_down.nodes = list(down_up.nodes)
    for level in range(min_level + 1, max_level + 1):
        up_down.add(level, up_down.first(level), up_down.last(level - 1))
    # The top map of the way up is already final, as the lowest map of the way down was.
    for level in range(max_level - 1, min_level, -1):
        up_down.add(level, *up_down.made[level], up_down.last(level + 1))
    up_down.add(min_level, up_down.first(min_level), up_down.last(min_level + 1))

    joined = _Drawing(min_level, max_level)
    joined.nodes = up_down.nodes
    for level in range(max_level, min_level - 1, -1):
        joined.add(level, down_up.last(level), up_down.last(level))
    return tuple(joined.nodes)


GRAPHS: dict[str, Callable[[int, int], Graph]] = {"bifpn": bifpn, "bifpn_dyn": bifpn, "qufpn": qufpn}
"""fpn_name → its graph between two levels."""

WEIGHT_METHODS = ("fastattn", "attn", "channel_fastattn", "channel_attn", "sum")
"""How a node weighs its inputs; `necks.fusion` has the formulas."""


def custom_graph(fpn_config: Mapping[str, Any], *, min_level: int, max_level: int) -> Graph:
    """Returns the graph that a user wrote as automl's `fpn_config`.

    Args:
      fpn_config: `{"nodes": [{"feat_level": 6, "inputs_offsets": [3, 4]}, …]}`,
        and `weight_method` where it is not the config's.

    Raises:
      ValueError: a node joins a map not yet made, or a level has no node.
    """
    num_levels = max_level - min_level + 1
    graph = []
    nodes = fpn_config.get("nodes") or ()
    if not isinstance(nodes, (list, tuple)):
        raise ValueError(f"fpn_config.nodes must be a list of nodes. Received {nodes!r}.")
    for position, entry in enumerate(nodes):
        try:
            node = Node(int(entry["feat_level"]), tuple(int(number) for number in entry["inputs_offsets"]))
        except (TypeError, KeyError, ValueError):
            raise ValueError(
                f"Each node of fpn_config must be like {{'feat_level': 6, 'inputs_offsets': [3, 4]}}. "
                f"Received {entry!r}."
            ) from None
        if not node.inputs or not all(0 <= number < num_levels + position for number in node.inputs):
            raise ValueError(
                f"Node {position} of fpn_config must join maps 0 to {num_levels + position - 1}, those made before it. "
                f"Received inputs_offsets={list(node.inputs)}."
            )
        graph.append(node)
    levels = set(range(min_level, max_level + 1))
    if {node.level for node in graph} != levels:
        raise ValueError(
            f"fpn_config must make a map of each level {min_level} to {max_level}, and of no other. "
            f"Received nodes of levels {sorted({node.level for node in graph})}."
        )
    return tuple(graph)
