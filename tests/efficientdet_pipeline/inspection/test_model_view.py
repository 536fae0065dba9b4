"""The view of a network: costs by level, and the graph of its neck."""

from pathlib import Path

import pytest
import yaml
from efficientdet.necks.fpn_graphs import Node
from efficientdet.necks.fpn_neck import FpnPart

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.inspection.model_view import fpn_graph, show_model
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.inspect import InspectOptions
from efficientdet_pipeline.options.schema import compose

CONFIG = {
    "name": "tiny",
    "image_size": 64,
    "backbone": {"name": "efficientnet-lite0", "blocks": ["r1_k3_s11_e1_i32_o8", *["r1_k3_s22_e1_i8_o8"] * 4]},
    "neck": {"name": "vfpn", "filters": 8, "paths": 2, "max_level": 5},
    "head": {"name": "anchor_free", "num_classes": 2, "filters": 8, "num_heads": 1},
}


@pytest.mark.parametrize(
    ("fields", "extra"),
    [
        ({"add_extra_convs": True}, [Node(6, (2,)), Node(7, (8,))]),
        ({"add_extra_convs": True, "extra_convs_on": "on_output"}, [Node(6, (7,)), Node(7, (8,))]),
        ({}, [Node(6, (7,)), Node(7, (8,))]),
    ],
)
def test_fpn_graph_goes_down_then_out_then_up(fields: dict, extra: list[Node]) -> None:
    neck = FpnPart(num_nb_outs=5, filters=8, **fields).build(range(3, 8))
    neck.build(dict.fromkeys((3, 4, 5), (None, None, None, 16)))
    levels, graph = fpn_graph(neck)
    assert levels == [3, 4, 5]
    down_and_out = [Node(4, (1, 2)), Node(3, (0, 3)), Node(3, (4,)), Node(4, (3,)), Node(5, (2,))]
    assert list(graph) == down_and_out + extra


def test_show_model_prints_costs_by_level_and_draws_the_neck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr("absl.logging.info", lambda text, *values: logged.append(text % values))
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(CONFIG))
    given = {"what": "model", "model_config": str(tmp_path / "tiny.yaml")}
    options = compose(InspectOptions, graph_file=str(tmp_path / "neck.svg"), **given)
    for _ in range(2):  # The second drawing replaces the first.
        show_model(options, HparamsGiven())
    text = "\n".join(logged)
    assert text.startswith("tiny, 64 x 64 px, levels 3 to 5")
    assert "multiply-adds of convolutions" in text
    drawing = (tmp_path / "neck.svg").read_text()
    assert "<svg" in drawing
    with pytest.raises(OptionsError, match=r"graph_file must be a \.png, \.svg or \.pdf file"):
        compose(InspectOptions, graph_file="neck.txt", **given)
    (tmp_path / "mine.svg").write_text("mine")
    with pytest.raises(OptionsError, match="graph_file must be a folder without unrelated files"):
        show_model(compose(InspectOptions, graph_file=str(tmp_path / "mine.svg"), **given), HparamsGiven())
