"""Tests of necks: automl's graphs and fusion formulas."""

import numpy as np
import pytest
from efficientdet.config import get_config
from efficientdet.necks.fpn_designs import DESIGNS
from efficientdet.necks.fpn_graphs import WEIGHT_METHODS, bifpn, custom_graph, fpn, pan, qufpn
from efficientdet.necks.fusion import Fusion
from efficientdet.necks.neck import Neck
from keras import ops

# level: inputs, in the order in which the nodes are made.
BIFPN_3_TO_7 = "6:3,4 5:2,5 4:1,6 3:0,7 4:1,7,8 5:2,6,9 6:3,5,10 7:4,11"
BIFPN_3_TO_8 = "7:4,5 6:3,6 5:2,7 4:1,8 3:0,9 4:1,9,10 5:2,8,11 6:3,7,12 7:4,6,13 8:5,14"
BIFPN_2_TO_7 = "6:4,5 5:3,6 4:2,7 3:1,8 2:0,9 3:1,9,10 4:2,8,11 5:3,7,12 6:4,6,13 7:5,14"
QUFPN_3_TO_7 = (
    f"{BIFPN_3_TO_7} 4:1,0 5:2,13 6:3,14 7:4,15"
    " 6:3,15,16 5:2,14,17 4:1,13,18 3:0,19 7:12,16 6:11,17 5:10,18 4:9,19 3:8,20"
)


def drawn(graph: tuple) -> str:
    return " ".join(f"{node.level}:{','.join(map(str, node.inputs))}" for node in graph)


@pytest.mark.parametrize(
    ("name", "min_level", "max_level", "edges"),
    [
        ("bifpn", 3, 7, BIFPN_3_TO_7),
        ("bifpn_dyn", 3, 7, BIFPN_3_TO_7),
        ("bifpn", 3, 8, BIFPN_3_TO_8),
        ("bifpn", 2, 7, BIFPN_2_TO_7),
        ("bifpn", 3, 4, "3:0,1 4:1,2"),
        ("qufpn", 3, 7, QUFPN_3_TO_7),
        ("qufpn", 3, 4, "3:0,1 4:1,2 4:1,0 3:0,4 4:3,4 3:2,5"),
        ("qufpn_sum", 3, 7, QUFPN_3_TO_7),
        ("fpn", 3, 7, "7:4 6:3,5 5:2,6 4:1,7 3:0,8"),
        ("pan", 3, 7, "6:3,4 5:2,5 4:1,6 3:0,7 4:7,8 5:6,9 6:5,10 7:4,11"),
    ],
)
def test_necks_edges(name: str, min_level: int, max_level: int, edges: str) -> None:
    assert drawn(DESIGNS[name].build(min_level, max_level)) == edges


@pytest.mark.parametrize("graph", [bifpn, fpn, pan, qufpn])
@pytest.mark.parametrize(("min_level", "max_level"), [(1, 9), (2, 5), (4, 8), (5, 6)])
def test_necks_graph_has_every_level_and_only_earlier_inputs(graph: object, min_level: int, max_level: int) -> None:
    nodes = graph(min_level, max_level)
    num_levels = max_level - min_level + 1
    assert {node.level for node in nodes} == set(range(min_level, max_level + 1))
    assert all(number < num_levels + position for position, node in enumerate(nodes) for number in node.inputs)


def test_necks_graph_custom_is_read() -> None:
    nodes = [{"feat_level": node.level, "inputs_offsets": list(node.inputs)} for node in bifpn(3, 7)]
    assert custom_graph({"nodes": nodes}, min_level=3, max_level=7) == bifpn(3, 7)


def fused(weight_method: str, weights: list, maps: np.ndarray) -> np.ndarray:
    layer = Fusion(weight_method)
    layer.build([maps[0].shape] * len(maps))
    for variable, weight in zip(layer.edge_weights, weights, strict=True):
        variable.assign(weight)
    return ops.convert_to_numpy(layer([ops.convert_to_tensor(x) for x in maps]))


def test_necks_two_equal_maps_as_automl_recorded_them() -> None:
    maps = np.float32([[[[[1.0, 3.0]]]], [[[[1.0, 3.0]]]]])
    np.testing.assert_allclose(fused("fastattn", [1.0, 1.0], maps).ravel(), [0.99995, 2.99985], rtol=1e-6)


@pytest.mark.parametrize("weight_method", WEIGHT_METHODS)
def test_fusion(weight_method: str) -> None:
    random = np.random.RandomState(0)
    maps = random.normal(size=(3, 2, 4, 5, 6)).astype(np.float32)
    shape = (3, 6) if weight_method.startswith("channel_") else (3,)
    weights = random.uniform(-0.5, 1, shape).astype(np.float32)
    if weight_method == "sum":
        weights, shares = weights[:0], np.ones(3)
    elif weight_method.endswith("fastattn"):
        shares = np.maximum(weights, 0) / (np.maximum(weights, 0).sum(0) + 1e-4)
    else:
        shares = np.exp(weights) / np.exp(weights).sum(0)
    expected = sum(share * x for share, x in zip(shares, maps, strict=True))
    np.testing.assert_allclose(fused(weight_method, list(weights), maps), expected, atol=1e-6)


def test_necks_all_weights_below_zero_give_nothing_rather_than_nan() -> None:
    maps = np.ones((2, 1, 1, 1, 3), np.float32)
    np.testing.assert_array_equal(fused("fastattn", [-1.0, -2.0], maps), np.zeros((1, 1, 1, 3)))


def test_necks_levels_that_the_backbone_lacks_are_added() -> None:
    config = get_config("efficientdet-d0", max_level=8, fpn_cell_repeats=1, fpn_num_filters=16)
    neck = Neck(config)
    shapes = {3: (1, 9, 12, 40), 4: (1, 5, 6, 112), 5: (1, 3, 3, 320)}
    neck.build(shapes)
    pyramid = neck({level: np.ones(shape, np.float32) for level, shape in shapes.items()})
    assert {level: tuple(x.shape) for level, x in pyramid.items()} == {
        3: (1, 9, 12, 16), 4: (1, 5, 6, 16), 5: (1, 3, 3, 16), 6: (1, 2, 2, 16), 7: (1, 1, 1, 16), 8: (1, 1, 1, 16)
    }  # fmt: skip
    # Only the first has another number of channels, and so a convolution.
    assert [len(resample.weights) for resample in neck.extra_levels.values()] == [6, 0, 0]


@pytest.mark.parametrize(
    ("hparams", "missing"),
    [
        ({"conv_bn_act_pattern": True}, {"conv/bias"}),
        ({"separable_conv": False}, {"conv/depthwise_kernel", "conv/pointwise_kernel"}),
        ({"apply_bn_for_resampling": False}, {"norm/beta"}),
        ({}, set()),
    ],
)
def test_necks_options_take_weights_away(hparams: dict, missing: set[str]) -> None:
    config = get_config("efficientdet-d0", fpn_cell_repeats=1, **hparams)
    neck = Neck(config)
    neck.build({3: (1, 9, 12, 40), 4: (1, 5, 6, 112), 5: (1, 3, 3, 320)})
    node, lateral = neck.cells[0].nodes[3], neck.cells[0].nodes[3].resamples[0]
    names = {f"conv/{weight.name}" for weight in node.conv.weights}
    names |= {"norm/beta"} if lateral.norm is not None else set()
    everything = {"conv/bias", "conv/depthwise_kernel", "conv/pointwise_kernel", "norm/beta"}
    assert everything - names == missing


def test_necks_activation_comes_first_unless_asked_otherwise() -> None:
    config = get_config("efficientdet-d0", fpn_cell_repeats=1, act_type="relu", fpn_weight_method="sum")
    for pattern in (False, True):
        node = Neck(config.override({"conv_bn_act_pattern": pattern})).cells[0].nodes[0]
        shape = (1, 4, 4, 64)
        node.build([shape] * 5)
        x = np.random.RandomState(0).normal(size=shape).astype(np.float32)
        values = ops.convert_to_numpy(node([x] * 5, size=(4, 4)))
        assert (values.min() < 0) is not pattern
