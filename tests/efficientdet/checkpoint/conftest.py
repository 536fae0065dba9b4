"""A network of a few hundred numbers a layer, with every kind of variable that automl's have."""

from typing import Any

import pytest
from efficientdet.config import DetectorConfig, get_config

STAGES = ["r1_k3_s11_e1_i32_o8_se0.25", *["r1_k3_s22_e2_i8_o8_se0.25"] * 3, "r1_k3_s22_e2_i8_o16_se0.25"]
SMALL = {
    "num_classes": 3,
    "image_size": 64,
    "fpn_num_filters": 8,
    "fpn_cell_repeats": 1,
    "box_class_repeats": 2,
    "backbone_config": {"blocks": STAGES},
}


@pytest.fixture(scope="session")
def small_config() -> DetectorConfig:
    return get_config("efficientdet-d0", **SMALL)


@pytest.fixture(scope="session")
def small_model(small_config: DetectorConfig) -> Any:
    from efficientdet.model import build_model

    return build_model(small_config)


@pytest.fixture(scope="session")
def other_classes_model(small_config: DetectorConfig) -> Any:
    from efficientdet.model import build_model

    return build_model(small_config.override({"num_classes": 5}))
