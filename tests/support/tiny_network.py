"""A network of seconds for the tests of compression: EfficientDet-lite0 with one cell and one layer in each head."""

from typing import Any

import efficientdet
import keras


def tiny_config(name: str = "efficientdet-lite0", **overrides: Any) -> efficientdet.DetectorConfig:
    """Returns the config."""
    small = {"image_size": 64, "num_classes": 2, "fpn_cell_repeats": 1, "box_class_repeats": 1, "max_level": 6}
    blocks = ["r1_k3_s11_e1_i32_o16_se0.25", "r1_k3_s22_e2_i16_o24_se0.25", "r1_k5_s22_e2_i24_o40_se0.25",
              "r1_k3_s22_e2_i40_o40_se0.25", "r2_k5_s22_e2_i40_o48_se0.25"]  # fmt: skip
    return efficientdet.get_config(name, **{**small, "backbone_config": {"blocks": blocks}, **overrides})


def tiny_network(name: str = "efficientdet-lite0", **overrides: Any) -> keras.Model:
    """Returns the network with seeded random weights."""
    keras.utils.set_random_seed(3)
    return efficientdet.build_model(tiny_config(name, **overrides))
