"""Summaries add up to the totals of the model."""

from typing import Any

import numpy as np
import pytest
from efficientdet.config import get_config
from efficientdet.model import build_model

from efficientdet_pipeline.models.summary import level_table, list_weights, summarize_levels, weight_table

STAGES = ["r1_k3_s11_e1_i32_o8_se0.25", *["r2_k3_s22_e2_i8_o8_se0.25"] * 3, "r1_k3_s22_e2_i8_o16_se0.25"]


@pytest.fixture(scope="module")
def model() -> Any:
    config = get_config(
        "efficientdet-d0", num_classes=3, image_size=128, fpn_num_filters=8, fpn_cell_repeats=2, box_class_repeats=2,
        seg_num_classes=4, heads=["object_detection", "segmentation"], backbone_config={"blocks": STAGES},
    )  # fmt: skip
    return build_model(config)


def test_summarize_levels_adds_up_to_the_model(model: Any) -> None:
    rows = summarize_levels(model)
    assert sum(row.parameters for row in rows) == model.count_params()
    backbone = [row for row in rows if row.part == "backbone"]
    assert [(row.level, row.size, row.layers) for row in backbone] == [
        (1, (64, 64), 1), (2, (32, 32), 2), (3, (16, 16), 2), (4, (8, 8), 2), (5, (4, 4), 1)
    ]  # fmt: skip
    nodes = {row.level: row.layers for row in rows if row.part == "neck"}
    assert nodes == {3: 2, 4: 4, 5: 4, 6: 4, 7: 2}
    assert {row.part for row in rows} == {"backbone", "neck", "class_head", "box_head", "mask_head"}
    assert f"{model.count_params():,}" in level_table(model).splitlines()[-1]


def test_list_weights_has_every_weight_once(model: Any) -> None:
    rows = list_weights(model)
    weights = [weight for weight in model.weights if "seed" not in weight.name]
    assert len([row for row in rows if row.layer]) == len(weights)
    assert sum(int(np.prod(row.shape)) for row in rows if row.layer) == model.count_params()
    stem = next(row for row in rows if row.layer == "backbone/stem_conv")
    assert (stem.name, stem.shape, stem.is_trainable) == ("kernel", (3, 3, 3, 32), True)
    assert not next(row for row in rows if row.name == "moving_mean").is_trainable
    text = weight_table(model, contains="block_0/")
    assert all("block_0/" in line for line in text.splitlines()[1:])
    assert len(text.splitlines()) > 5
