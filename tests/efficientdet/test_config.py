"""Tests of the config of a network: valid values, and error messages for invalid ones."""

import dataclasses

import efficientdet
import pytest
from efficientdet.automl.hparams import HPARAMS, MODELS, NETWORK
from efficientdet.config import ACT_TYPES, DetectorConfig, get_config


def test_config_its_fields_are_automls_network_keys() -> None:
    fields = {field.name for field in dataclasses.fields(DetectorConfig)}
    assert fields == {name for name, hparam in HPARAMS.items() if hparam.owner == NETWORK}


@pytest.mark.parametrize(
    ("size", "expected"),
    [(512, (512, 512)), ("512", (512, 512)), ("640x384", (384, 640)), ((384, 640), (384, 640)), ([9, 7], (9, 7))],
)
def test_image_size_is_height_and_width(size: object, expected: tuple[int, int]) -> None:
    assert get_config("efficientdet-d0", image_size=size).image_size == expected


@pytest.mark.parametrize(
    ("hparams", "message"),
    [
        ({"image_size": "640,384"}, "WIDTHxHEIGHT such as 640x384"),
        ({"image_size": 0}, "above 0"),
        ({"image_size": (1, -1)}, "above 0"),
        ({"act_type": "swich"}, "Unknown act_type 'swich'. Did you mean swish"),
        ({"backbone_name": "efficientnet-b9"}, "Unknown backbone 'efficientnet-b9'. Did you mean efficientnet-b"),
        ({"fpn_name": "bifpm"}, "Unknown fpn_name 'bifpm'. Did you mean bifpn"),
        ({"fpn_weight_method": "mean"}, "Unknown fpn_weight_method 'mean'"),
        ({"heads": ["object_detektion"]}, "Unknown head 'object_detektion'. Did you mean object_detection"),
        ({"heads": []}, "heads must be one or more"),
        ({"nms_configs": {"method": "soft"}}, "Unknown nms_configs.method 'soft'"),
        ({"data_format": "channels_first"}, "channels_last gives the same numbers"),
        ({"data_format": "nchw"}, "data_format must be channels_last"),
        ({"min_level": 6}, "min_level must be 1 to 5"),
        ({"max_level": 3}, "max_level must be above min_level=3"),
        ({"num_classes": 0}, "num_classes must be 1 or more"),
        ({"fpn_cell_repeats": 0}, "fpn_cell_repeats must be 1 or more"),
        ({"box_class_repeats": -1}, "box_class_repeats must be 0 or more"),
        ({"survival_prob": 1.5}, "survival_prob must be above 0"),
        ({"aspect_ratios": []}, "aspect_ratios must be one or more"),
        ({"aspect_ratios": [1.0, -2.0]}, "numbers above 0"),
        ({"aspect_ratios": [[1.0, 2.0, 3.0]]}, "pairs"),
        ({"aspect_ratios": [1.0, float("inf")]}, "aspect_ratios must be finite"),
        ({"anchor_scale": float("inf")}, "anchor_scale must be finite"),
        ({"mean_rgb": [1.0, float("inf"), 2.0]}, "mean_rgb must be finite"),
        ({"anchor_scale": [4.0, 5.0]}, "anchor_scale must be a number above 0, or 5 of them"),
        ({"mean_rgb": [1.0, 2.0]}, "mean_rgb must be a number or three"),
        ({"stddev_rgb": 0.0}, "stddev_rgb must be above 0"),
        ({"heads": ["segmentation"], "image_size": 200}, "multiples of 128"),
        ({"fpn_config": {"nodes": []}}, "fpn_config must have a node for each level 3 to 7"),
        ({"fpn_config": {"nodes": 3}}, "fpn_config.nodes must be a list of nodes"),
        ({"backbone_config": {"blocks": 1}}, "backbone_config.blocks must be a list of stages"),
        ({"backbone_config": {"blocks": [1]}}, "must be written like r2_k5_s22_e6_i24_o40_se0.25"),
        ({"backbone_config": {"blocks": ["r1_k3_s22_e1_i32_o16"]}}, "must give levels up to 5"),
        ({"fpn_config": {"nodes": [{"feat_level": 6, "inputs_offsets": [5]}]}}, "must take maps 0 to 4"),
        ({"fpn_config": {"nodes": [{"level": 6}]}}, "Each node of fpn_config must be like"),
        ({"fpn_name": "vfpn", "fpn_config": {"path": 3}}, "Unknown key of fpn_config 'path'. Did you mean paths"),
        ({"fpn_name": "vfpn", "fpn_config": {"paths": 0}}, "fpn_config.paths must be a whole number above 0"),
        ({"fpn_name": "vfpn", "fpn_config": {"input_edge": 1}}, "fpn_config.input_edge must be true or false"),
        ({"fpn_name": "bifpn_sum", "fpn_config": {"weight_method": "attn"}}, "fpn_name=bifpn_sum takes depth"),
        ({"num_clases": 3}, "Did you mean num_classes"),
    ],
)
def test_config_what_no_network_can_have(hparams: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_config("efficientdet-d0", **hparams)


def test_config_every_model_has_a_config() -> None:
    configs = {name: get_config(name) for name in MODELS}
    assert len(configs) == 15
    assert configs["efficientdet-d7x"].levels == range(3, 9)
    assert configs["efficientdet-d7x"].weight_method == "sum"
    assert configs["efficientdet-d0"].weight_method == "fastattn"
    assert configs["efficientdet-lite3x"].num_anchors == 9
    assert configs["efficientdet-d0"].mean_rgb == pytest.approx((123.675, 116.28, 103.53))


def test_config_override_takes_every_form_and_keeps_the_rest() -> None:
    config = get_config("efficientdet-d0", num_classes=7, nms_configs={"sigma": 0.3})
    other = config.override("image_size=640x384,nms_configs.method=hard")
    assert (other.image_size, other.num_classes) == ((384, 640), 7)
    assert other.nms_configs == config.nms_configs | {"method": "hard"}
    assert config.nms_configs["method"] == "gaussian"
    assert config.override({"act_type": "relu"}).act_type == "relu"
    assert config.override(None) == config


def test_hparams_of_a_run_are_checked_and_then_ignored() -> None:
    config = get_config("efficientdet-d0")
    assert config.override("learning_rate=0.1,num_epochs=3") == config
    with pytest.raises(ValueError, match="learning_rate must be a number"):
        config.override("learning_rate=quick")


def test_config_can_be_written_and_read_back() -> None:
    config = get_config("efficientdet-lite0", image_size="300x200", aspect_ratios=[[1.4, 0.7], 1.0])
    assert get_config("efficientdet-d0").override(config.to_hparams()) == config
    assert hash(config) == hash(get_config("efficientdet-lite0").override(config.to_hparams()))


def test_config_graph_custom_brings_its_weight_method() -> None:
    nodes = [{"feat_level": level, "inputs_offsets": [0]} for level in range(3, 8)]
    config = get_config("efficientdet-d0", fpn_config={"nodes": nodes, "weight_method": "sum"})
    assert config.weight_method == "sum"
    assert [node.level for node in config.graph] == [3, 4, 5, 6, 7]


def test_config_public_names_are_imported_on_use() -> None:
    assert {"build_model", "get_config", "load_checkpoint", "detections"} <= set(dir(efficientdet))
    assert efficientdet.get_config is get_config
    with pytest.raises(AttributeError, match="no attribute 'build_modell'"):
        efficientdet.build_modell  # noqa: B018


def test_config_every_activation_has_a_formula() -> None:
    from efficientdet.activations import ACTIVATIONS

    assert tuple(ACTIVATIONS) == ACT_TYPES
