"""Tests of FPN designs: parameters and operations equal those of the source."""

import numpy as np
import pytest
from efficientdet.config import get_config
from efficientdet.flops import model_cost
from efficientdet.layers import NumpyInitializer
from efficientdet.level_costs import level_costs, level_table
from efficientdet.model import build_model
from efficientdet.necks.fpn_designs import DESIGNS

# fpn_name, fpn_config: trainable parameters of D0, D1, D2, and multiply-adds in billions. Measured by the author of
# VFPN and QuadFPN with the counting rules of `flops`; where a number is published, it is the same.
RECORDED = {
    ("bifpn", ()): ((3_880_067, 6_625_898, 8_097_039), (2.532, 6.096, 10.989)),
    ("quadfpn", ()): ((4_131_418, 7_353_118, 9_701_792), (2.761, 7.146, 14.340)),
    ("quadfpn_small", ()): ((4.029, 6.983, 8.535), (2.666, 6.613, 11.926)),
    ("vfpn_small", ()): ((4.053, 6.955, 8.677), (2.655, 6.456, 11.903)),
    ("vfpn", ()): ((4_510_794, 7_820_310, 10_185_024), (2.983, 7.447, 14.428)),
    ("vfpn", (("input_edge", True),)): ((4_541_583, 7_862_643, 10_244_210), (3.007, 7.498, 14.534)),
    ("vfpn_alt_staged", ()): ((4.197, 7.288, 9.313), (2.795, 6.962, 13.263)),
    ("vfpn_alt", ()): ((4.354, 7.575, 9.825), (2.898, 7.242, 14.033)),
    ("vfpn_split", ()): ((4.363, 7.590, 9.854), (2.930, 7.333, 14.283)),
    ("vfpn_topdown", ()): ((4.061, 6.970, 8.705), (2.748, 6.775, 12.799)),
}


@pytest.fixture(autouse=True)
def no_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NumpyInitializer, "_unit_numbers", lambda self, shape: np.zeros(shape, np.float32))


@pytest.mark.parametrize("design", RECORDED, ids=str)
@pytest.mark.parametrize("size", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_design_costs(design: tuple, size: int) -> None:
    name, fpn_config = design
    config = get_config(f"efficientdet-d{size}", fpn_name=name, fpn_config=dict(fpn_config) or None)
    cost = model_cost(build_model(config))
    parameters, flops = (column[size] for column in RECORDED[design])
    # Three decimals of a million and of a billion, cut or rounded as in the sources.
    if isinstance(parameters, int):
        assert cost.trainable == parameters
    else:
        assert cost.trainable / 1e6 == pytest.approx(parameters, abs=0.00051)
    assert cost.flops / 1e9 == pytest.approx(flops, abs=0.00051)


def test_design_paths_and_depth_follow_the_options() -> None:
    config = get_config("efficientdet-d0", fpn_name="vfpn", fpn_config={"paths": 2, "depth": 3, "weight_method": "sum"})
    assert (len(config.graph), config.num_fpn_cells, config.weight_method) == (2 * 8 + 5, 3, "sum")
    assert get_config("efficientdet-d1", fpn_name="vfpn").num_fpn_cells == 1
    assert get_config("efficientdet-d1").num_fpn_cells == 4
    assert len(get_config("efficientdet-d1", fpn_name="vfpn").graph) == 10 * 8 + 5
    fourteen = get_config("efficientdet-d2", fpn_name="vfpn", fpn_config={"paths": 14})
    assert model_cost(build_model(fourteen)).trainable == 10_632_848


def test_design_weight_method_of_the_name_wins_over_the_models() -> None:
    assert get_config("efficientdet-d6", fpn_name="bifpn_fa").weight_method == "fastattn"
    assert get_config("efficientdet-d0", fpn_name="pan_sum").weight_method == "sum"
    mixed = get_config("efficientdet-d0", fpn_name="qufpn_sum")
    assert [node.weight_method for node in mixed.graph] == [None] * 16 + ["fastattn"] * 5
    assert mixed.weight_method == "sum"


def test_design_graphs_make_every_level() -> None:
    for name in DESIGNS:
        config = get_config("efficientdet-d0", fpn_name=name, min_level=2, max_level=6)
        assert {node.level for node in config.graph} == {2, 3, 4, 5, 6}, name


def test_level_costs_add_up() -> None:
    for name in ("bifpn", "vfpn"):
        model = build_model(get_config("efficientdet-d0", fpn_name=name))
        costs, whole = level_costs(model), {part.name: part for part in model_cost(model).parts}
        assert [cost.size[0] for cost in costs] == [64, 32, 16, 8, 4]
        assert sum(cost.nodes for cost in costs) == {"bifpn": 24, "vfpn": 69}[name]
        assert sum(cost.parameters for cost in costs) == whole["fpn"].trainable
        assert sum(cost.neck_flops for cost in costs) == pytest.approx(whole["fpn"].flops, abs=5)
        heads = whole["class_net"].flops + whole["box_net"].flops
        assert sum(cost.head_flops for cost in costs) == pytest.approx(heads, abs=5)
        assert level_table(costs).splitlines()[1].split()[:3] == ["P3", "64x64", "3" if name == "bifpn" else "9"]
