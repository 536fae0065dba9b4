"""Costs of detectors built from parts against those of google/automl's network with the same backbone."""

import efficientdet
import pytest
from efficientdet.detectors.config import read_parts
from efficientdet.detectors.cost import cost_table, part_costs
from efficientdet.flops import model_cost

BLOCKS = ["r1_k3_s11_e1_i32_o16_se0.25", *["r1_k3_s22_e6_i16_o16_se0.25"] * 4]


def test_part_costs_count_the_convolutions_of_a_backbone_as_model_cost_does() -> None:
    parts = {
        "image_size": 64,
        "backbone": {"name": "efficientnet-lite0", "blocks": BLOCKS},
        "neck": {"name": "bifpn", "filters": 8, "repeats": 1, "max_level": 5},
        "head": {"name": "anchor_free", "num_classes": 2, "filters": 8, "num_heads": 1},
    }
    detector = efficientdet.build_model(read_parts(parts))
    costs = {cost.name: cost for cost in part_costs(detector)}
    config = efficientdet.get_config("efficientdet-lite0", image_size=64, backbone_config={"blocks": BLOCKS})
    expected = {part.name: part for part in model_cost(efficientdet.build_model(config)).parts}["backbone"]
    assert (costs["backbone"].trainable, costs["backbone"].weights) == (expected.trainable, expected.weights)
    # Lite networks have no elementwise operations but residual sums, of which these stages have none.
    assert sum(costs["backbone"].flops.values()) == expected.flops
    # The class tower on level 3: a separable convolution of 8 channels and a 1x1 of 2; the box tower gives 4 + 1.
    one_tower = 2 * (9 * 8 + 8 * 8)
    predictions = 2 * 8 * 7 + 7
    assert costs["head"].flops[3] == 64 * (2 * one_tower + predictions) // 2
    assert costs["head"].flops[3] == pytest.approx(4 * costs["head"].flops[4], abs=4)
    assert (
        cost_table(tuple(costs.values())).splitlines()[-1].split()[1] == f"{sum(c.trainable for c in costs.values()):,}"
    )
    assert "call" not in vars(detector.neck)
