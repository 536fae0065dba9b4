"""Graphs are drawn with every node and every edge, in every format."""

from pathlib import Path

import pytest
from efficientdet.config import get_config
from efficientdet.necks.fpn_graphs import bifpn
from PIL import Image

from efficientdet_pipeline.visualize.fpn_graph import graph_figure, node_positions, save_graph


def test_node_positions_follow_the_edges() -> None:
    graph = bifpn(3, 7)
    positions = node_positions(graph, range(3, 8))
    assert positions[:5] == [(0.0, 3.0), (0.0, 4.0), (0.0, 5.0), (0.0, 6.0), (0.0, 7.0)]
    for number, node in enumerate(graph, start=5):
        assert positions[number][1] == node.level
        assert all(positions[source][0] < positions[number][0] for source in node.inputs)
    assert len(set(positions)) == len(positions)


@pytest.mark.parametrize("name", ["bifpn", "qufpn", pytest.param("vfpn", marks=pytest.mark.slow), "vfpn_topdown"])
def test_graph_figure_has_every_node_and_edge(name: str) -> None:
    graph = get_config("efficientdet-d0", fpn_name=name).graph
    axes = graph_figure(graph, range(3, 8), title=name).axes[0]
    assert len(axes.lines) == 5 + len(graph)
    assert len(axes.patches) == sum(len(node.inputs) for node in graph)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["P3", "P4", "P5", "P6", "P7"]


def test_save_graph_writes_by_ending(tmp_path: Path) -> None:
    png = save_graph(tmp_path / "graph.png", bifpn(3, 7), range(3, 8), title="bifpn")
    with Image.open(png) as image:
        assert image.width > 300
        assert len(image.convert("RGB").getcolors(1 << 24)) > 50
    svg = save_graph(tmp_path / "graph.svg", bifpn(3, 7), range(3, 8), title="bifpn")
    assert svg.read_text().count("<path") > 30
    with pytest.raises(ValueError, match=r"must end in \.png, \.svg or \.pdf. Received"):
        save_graph(tmp_path / "graph.txt", bifpn(3, 7), range(3, 8))
