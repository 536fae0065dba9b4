"""Tests of the cost of networks: parameters equal automl's, operations agree within 2 %."""

import math

import numpy as np
import pytest
from efficientdet.config import get_config
from efficientdet.flops import model_cost
from efficientdet.layers import NumpyInitializer
from efficientdet.model import build_model

# name: trainable, all, backbone, resample, fpn, class_net, box_net, multiply-adds; recorded from google/automl.
RECORDED = {
    "d0": (3880067, 3927203, 3595388, 20672, 175609, 69354, 19044, 2550618821),
    "d1": (6625898, 6697354, 6101024, 28424, 362548, 101394, 32508, 6133752112),
    "d2": (8097039, 8178815, 7202562, 39760, 668399, 136890, 49428, 11045799933),
    "d3": (12032296, 12146600, 10103336, 61920, 1497554, 247050, 122436, 24982737931),
    "d4": (20723675, 20890987, 16742216, 101024, 3248805, 402890, 228740, 55346593717),
    "d5": (33653315, 33880707, 27288112, 148320, 5257573, 591498, 367812, 135729505573),
    "d6": (51871782, 52183766, 39403992, 222336, 10361472, 1090986, 792996, 226033623795),
    "d7": (51871782, 52183766, 39403992, 222336, 10361472, 1090986, 792996, 325473789367),
    "d7x": (77147166, 77564894, 62143440, 246912, 12865152, 1094826, 796836, 410e9),
    "lite0": (3243470, 3290606, 2958848, 20672, 175552, 69354, 19044, 977617221),
    "lite1": (4248318, 4311390, 3723520, 28424, 362472, 101394, 32508, 1973728714),
    "lite2": (5252334, 5324894, 4357952, 39760, 668304, 136890, 49428, 3383232590),
    "lite3": (8350862, 8455054, 6422016, 61920, 1497440, 247050, 122436, 7503764515),
    "lite3x": (9280862, 9392574, 6422016, 77400, 2255800, 340610, 185036, 14019809178),
    "lite4": (15130894, 15286398, 11149568, 101024, 3248672, 402890, 228740, 20221443966),
}


@pytest.fixture(autouse=True)
def zero_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fills kernels with zeros: costs do not depend on them, and drawing D7x takes seconds."""
    monkeypatch.setattr(NumpyInitializer, "_unit_numbers", lambda self, shape: np.zeros(shape, np.float32))


@pytest.mark.parametrize("name", RECORDED)
def test_flops_every_model(name: str) -> None:
    trainable, weights, *parts, flops = RECORDED[name]
    model = build_model(get_config(f"efficientdet-{name}"))
    cost = model_cost(model)
    assert (cost.trainable, cost.weights) == (trainable, weights)
    assert cost.trainable == sum(math.prod(variable.shape) for variable in model.trainable_variables)
    assert [part.trainable for part in cost.parts] == parts
    assert cost.flops == pytest.approx(flops, rel=0.02)


@pytest.mark.parametrize(("image_size", "flops"), [((511, 513), 2628615337), ((512, 512), 2550618821)])
def test_flops_odd_sizes(image_size: tuple[int, int], flops: int) -> None:
    assert model_cost(build_model(get_config("efficientdet-d0", image_size=image_size))).flops == pytest.approx(
        flops, 0.02
    )


def test_flops_outputs_and_options() -> None:
    config = get_config(
        "efficientdet-d0", image_size=128, heads=["object_detection", "segmentation"], conv_after_downsample=True,
        survival_prob=0.8, fpn_weight_method="attn", separable_conv=False, act_type="hswish",
    )  # fmt: skip
    model = build_model(config)
    cost, outputs = model_cost(model), model(np.zeros((1, 128, 128, 3), np.float32))
    for name, shape in cost.outputs.items():
        kind, _, level = name.partition("/")
        tensor = outputs[kind][int(level)] if level else outputs[kind]
        assert tuple(tensor.shape[1:]) == shape, name
    assert cost.weights == model.count_params()
    assert cost.flops > model_cost(build_model(config.override("separable_conv=true"))).flops


def test_flops_table_for_a_terminal() -> None:
    table = model_cost(build_model(get_config("efficientdet-d0"))).table()
    assert "3,880,067" in table.splitlines()[6]
    assert "box/7         4 x 4 x 36" in table
    assert max(map(len, table.splitlines())) <= 80
