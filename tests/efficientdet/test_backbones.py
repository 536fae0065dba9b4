"""Tests of backbones: automl's stages, and one feature map per level."""

import numpy as np
import pytest
from efficientdet.backbones import BACKBONES, build_backbone
from efficientdet.backbones.stages import SCALES, STAGES, block_specs, parse_stage, round_filters
from efficientdet.config import get_config

# (stem, blocks of each stage and their filters), recorded from google/automl.
RECORDED = {
    "efficientnet-b0": (32, "1x16 2x24 2x40 3x80 3x112 4x192 1x320"),
    "efficientnet-b1": (32, "2x16 3x24 3x40 4x80 4x112 5x192 2x320"),
    "efficientnet-b2": (32, "2x16 3x24 3x48 4x88 4x120 5x208 2x352"),
    "efficientnet-b3": (40, "2x24 3x32 3x48 5x96 5x136 6x232 2x384"),
    "efficientnet-b4": (48, "2x24 4x32 4x56 6x112 6x160 8x272 2x448"),
    "efficientnet-b5": (48, "3x24 5x40 5x64 7x128 7x176 9x304 3x512"),
    "efficientnet-b6": (56, "3x32 6x40 6x72 8x144 8x200 11x344 3x576"),
    "efficientnet-b7": (64, "4x32 7x48 7x80 10x160 10x224 13x384 4x640"),
    "efficientnet-lite0": (32, "1x16 2x24 2x40 3x80 3x112 4x192 1x320"),
    "efficientnet-lite1": (32, "1x16 3x24 3x40 4x80 4x112 5x192 1x320"),
    "efficientnet-lite2": (32, "1x16 3x24 3x48 4x88 4x120 5x208 1x352"),
    "efficientnet-lite3": (32, "1x24 3x32 3x48 5x96 5x136 6x232 1x384"),
    "efficientnet-lite4": (32, "1x24 4x32 4x56 6x112 6x160 8x272 1x448"),
}


@pytest.mark.parametrize("name", RECORDED)
def test_stages(name: str) -> None:
    stem, stages = RECORDED[name]
    backbone = build_backbone(get_config("efficientdet-d0", backbone_name=name))
    expected = [
        int(filters) for stage in stages.split() for times, filters in [stage.split("x")] for _ in range(int(times))
    ]
    assert backbone.stem_conv.filters == stem
    assert [block.spec.filters_out for block in backbone.blocks] == expected
    assert (block_specs(name)[0].se_ratio == 0) == ("lite" in name)


def test_backbones_every_name_has_its_scale() -> None:
    assert BACKBONES.keys() == SCALES.keys()


def test_backbones_one_map_per_halving_any_size() -> None:
    backbone = build_backbone(get_config("efficientdet-d0"))
    backbone.build((None, None, None, 3))
    pyramid = backbone(np.zeros((1, 65, 96, 3), np.float32))
    assert {level: tuple(x.shape[1:3]) for level, x in pyramid.items()} == {
        1: (33, 48), 2: (17, 24), 3: (9, 12), 4: (5, 6), 5: (3, 3)
    }  # fmt: skip
    assert {level: x.shape[-1] for level, x in pyramid.items()} == backbone.channels


def test_backbones_deeper_blocks_are_dropped_more_often_and_never_those_of_b0() -> None:
    def drop_paths(name: str) -> list:
        blocks = build_backbone(get_config("efficientdet-d0", backbone_name=name)).blocks
        return [(block.drop_path.index, block.drop_path.survival_prob) for block in blocks if block.drop_path]

    assert drop_paths("efficientnet-b0") == []
    # Lite0 has the blocks of B0, but automl drops them.
    assert drop_paths("efficientnet-lite0")[0] == (2, pytest.approx(1 - 0.2 * 2 / 16))
    indices, chances = zip(*drop_paths("efficientnet-b1"), strict=True)
    assert indices == (1, 3, 4, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19, 20, 22)
    assert chances == pytest.approx([1 - 0.2 * index / 23 for index in indices])


def test_backbones_filters_are_rounded_to_eight_and_lose_no_tenth() -> None:
    rounded = {(32, 1.0): 32, (24, 1.2): 32, (40, 1.1): 48, (3, 1.0): 8, (20, 1.0): 24}
    assert {arguments: round_filters(*arguments) for arguments in rounded} == rounded


def test_stages_custom() -> None:
    mapping = {
        "num_repeat": 2, "kernel_size": 5, "strides": [2, 2], "expand_ratio": 6, "input_filters": 24,
        "output_filters": 40, "se_ratio": 0.25, "id_skip": False, "fused_conv": 1, "conv_type": 0, "super_pixel": 0,
        "condconv": False,
    }  # fmt: skip
    assert parse_stage(mapping) == parse_stage("r2_k5_s22_e6_i24_o40_se0.25_noskip_f1")
    blocks = [*STAGES[:2], "r1_k3_s22_e2_i24_o32_f1", "r2_k3_s22_e4_i32_o48_c1", "r1_k3_s22_e2_i48_o64"]
    backbone = build_backbone(get_config("efficientdet-d0", backbone_config={"blocks": blocks}))
    backbone.build((None, None, None, 3))
    assert backbone.channels == {1: 16, 2: 24, 3: 32, 4: 48, 5: 64}
    fused, plain = backbone.blocks[3], backbone.blocks[4]
    assert (fused.expand_conv, tuple(fused.spatial_conv.kernel.shape)) == (None, (3, 3, 24, 48))
    assert (plain.spatial_conv, tuple(plain.expand_conv.kernel.shape)) == (None, (3, 3, 32, 128))
    assert backbone(np.zeros((1, 64, 64, 3), np.float32))[5].shape == (1, 2, 2, 64)


@pytest.mark.parametrize("stage", ["", "r1_k3", "r1_k3_s11_e1_i32_o16_cc", "r1_k3_s22_e1_i32_o16_p1", "one stage"])
def test_backbones_stage_that_no_detector_uses(stage: str) -> None:
    with pytest.raises(ValueError, match="A stage of backbone_config must be written like"):
        parse_stage(stage)
