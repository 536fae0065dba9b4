"""Tests of the FPN neck: top-down pathway and extra levels."""

import numpy as np
import pytest
from efficientdet.necks.fpn_neck import ORDERS, ConvNormAct, FpnPart
from keras import ops

SHAPES = {2: (1, 16, 12, 8), 3: (1, 8, 6, 16), 4: (1, 4, 3, 24), 5: (1, 2, 2, 32)}


def built(**fields: object) -> tuple:
    part = FpnPart(**{"num_nb_outs": 5, "filters": 4, **fields})
    levels = part.levels(list(SHAPES), 3)
    neck = part.build(levels)
    neck.build({level: SHAPES[level] for level in levels if level in SHAPES})
    random = np.random.RandomState(0)
    features = {level: random.normal(size=shape).astype(np.float32) for level, shape in SHAPES.items()}
    return neck, features, {level: ops.convert_to_numpy(x) for level, x in neck(features).items()}


def test_fpn_neck_adds_the_coarser_lateral() -> None:
    neck, features, outputs = built(num_nb_outs=3)
    assert {level: x.shape for level, x in outputs.items()} == {3: (1, 8, 6, 4), 4: (1, 4, 3, 4), 5: (1, 2, 2, 4)}
    lateral = {level: ops.convert_to_numpy(neck.laterals[str(level)](features[level])) for level in (4, 5)}
    # Three columns of two: 0, 0, 1 as nearest neighbours.
    merged = lateral[4] + lateral[5][:, [0, 0, 1, 1]][:, :, [0, 0, 1]]
    np.testing.assert_allclose(outputs[4], ops.convert_to_numpy(neck.outputs["4"](merged)), atol=1e-5)


@pytest.mark.parametrize("source", ["on_input", "on_lateral", "on_output"])
def test_fpn_neck_extra_convs(source: str) -> None:
    neck, features, outputs = built(add_extra_convs=True, extra_convs_on=source, relu_before_extra_convs=True)
    assert [outputs[level].shape[1:3] for level in (6, 7)] == [(1, 1), (1, 1)]
    x = {"on_input": features[5], "on_lateral": neck.laterals["5"](features[5]), "on_output": outputs[5]}[source]
    np.testing.assert_allclose(outputs[6], ops.convert_to_numpy(neck.extras["6"](x)), atol=1e-5)
    activated = np.maximum(outputs[6], 0)
    np.testing.assert_allclose(outputs[7], ops.convert_to_numpy(neck.extras["7"](activated)), atol=1e-5)


def test_fpn_neck_without_extra_convs_takes_every_second_pixel() -> None:
    _, _, outputs = built(num_nb_outs=4)
    np.testing.assert_array_equal(outputs[6], outputs[5][:, ::2, ::2])


def test_fpn_neck_no_norm_on_lateral() -> None:
    neck, _, _ = built(norm_layer="batch_norm", no_norm_on_lateral=True)
    assert not neck.laterals["3"].norm.weights
    assert len(neck.outputs["3"].norm.weights) == 4
    assert len(built(norm_layer="batch_norm")[0].laterals["3"].norm.weights) == 4


@pytest.mark.parametrize("order", ORDERS)
def test_conv_norm_act_does_each_once_in_any_order(order: tuple) -> None:
    layer = ConvNormAct(3, 3, norm="affine", act="relu", order=order)
    x = np.random.RandomState(1).normal(size=(1, 5, 5, 2)).astype(np.float32)
    layer.build(x.shape)
    layer.norm.gamma.assign(-2.0 * np.ones(layer.norm.gamma.shape))
    layer.norm.beta.assign(0.5 * np.ones(layer.norm.beta.shape))
    steps = {
        "conv": lambda x: ops.convert_to_numpy(layer.conv(x)),
        "norm": lambda x: np.float32(-2.0 * x + 0.5),
        "act": lambda x: np.maximum(x, 0),
    }
    expected = x
    for step in order:
        expected = steps[step](expected)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x)), expected, atol=1e-5)
    with pytest.raises(ValueError, match="order must be one of"):
        ConvNormAct(3, 3, order=("act", "norm", "conv"))


@pytest.mark.parametrize(
    ("fields", "lowest", "expected"),
    [
        ({}, 3, range(3, 8)),
        ({}, None, range(2, 7)),
        ({"start_level": 1}, 3, range(3, 8)),
        ({"num_nb_ins": 3}, None, range(3, 8)),
        ({"end_level": 3, "num_nb_outs": 2}, 3, range(3, 5)),
    ],
)
def test_fpn_part_levels(fields: dict, lowest: int | None, expected: range) -> None:
    assert FpnPart(**{"num_nb_outs": 5, **fields}).levels([2, 3, 4, 5], lowest) == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_nb_outs": 2}, "num_nb_outs must be 3, the levels from 3 to 5, or more. Received num_nb_outs=2"),
        ({"num_nb_ins": 5}, "num_nb_ins=5 maps of the backbone are needed"),
        ({"end_level": 3}, "num_nb_outs must be 2, the levels from 3 to 4, because end_level is set"),
        ({"start_level": 4}, "start_level must be 0 to 3"),
        ({"end_level": 0}, "end_level must be 1 to num_nb_ins=4, or -1"),
        ({"extra_convs_on": "on_inputs"}, "Unknown extra_convs_on 'on_inputs'. Did you mean on_input"),
        ({"upsample_cfg": {"interpolation": "bilinear"}}, "upsample_cfg must be interpolation: nearest, size: 2"),
        ({"norm_layer": "bn"}, "Unknown norm_layer 'bn'"),
        ({"filters": 0}, "must be 1 or more"),
    ],
)
def test_fpn_part_refuses(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FpnPart(**{"num_nb_outs": 5, **fields}).levels([2, 3, 4, 5], 3)


def test_fpn_part_refuses_a_level_that_the_backbone_lacks() -> None:
    with pytest.raises(ValueError, match=r"one of the backbone's \[2, 3, 4, 5\] below 6. Received level 6"):
        FpnPart(num_nb_outs=2).levels([2, 3, 4, 5], 6)
