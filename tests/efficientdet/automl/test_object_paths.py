import pytest
from efficientdet.automl.object_paths import hub_path, object_paths

B0 = "efficientnet-b0"


def paths_of(*names: str, min_level: int = 3) -> list[str | None]:
    paths = object_paths(names, backbone_name=B0, min_level=min_level)
    return [paths.get(name) for name in names]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (f"{B0}/stem/conv2d/kernel", "backbone/_stem/_conv_stem/kernel"),
        (f"{B0}/stem/tpu_batch_normalization/moving_mean", "backbone/_stem/_bn/moving_mean"),
        (f"{B0}/blocks_3/se/conv2d_1/bias", "backbone/_blocks/3/_se/_se_expand/bias"),
        ("resample_p6/bn/gamma", "resample_layers/0/bn/gamma"),
        ("resample_p7/conv2d/kernel", "resample_layers/1/conv2d/kernel"),
        ("fpn_cells/cell_2/fnode5/WSM_2", "fpn_cells/cells/2/fnodes/5/WSM_2"),
        (
            "fpn_cells/cell_0/fnode4/resample_0_1_9/conv2d/bias",
            "fpn_cells/cells/0/fnodes/4/resample_layers/0/conv2d/bias",
        ),
        (
            "fpn_cells/cell_0/fnode4/op_after_combine9/conv/pointwise_kernel",
            "fpn_cells/cells/0/fnodes/4/op_after_combine/conv_op/pointwise_kernel",
        ),
        (
            "fpn_cells/cell_0/fnode4/op_after_combine9/bn/beta",
            "fpn_cells/cells/0/fnodes/4/op_after_combine/bn/beta",
        ),
        ("class_net/class-1/bias", "class_net/conv_ops/1/bias"),
        ("box_net/box-1-bn-7/gamma", "box_net/bns/1/4/gamma"),
        ("class_net/class-predict/bias", "class_net/classes/bias"),
        ("box_net/box-predict/depthwise_kernel", "box_net/boxes/depthwise_kernel"),
    ],
)
def test_object_paths_name_has_a_path(name: str, path: str) -> None:
    assert paths_of(name) == [path]


def test_object_paths_numbers_in_a_block_depend_on_whether_it_widens() -> None:
    norms = [f"{B0}/blocks_0/tpu_batch_normalization{end}/beta" for end in ("", "_1")]
    narrow = paths_of(*norms, f"{B0}/blocks_0/depthwise_conv2d/depthwise_kernel", f"{B0}/blocks_0/conv2d/kernel")
    assert [path.split("/")[3] for path in narrow] == ["_bn1", "_bn2", "_depthwise_conv", "_project_conv"]

    names = [f"{B0}/blocks_1/tpu_batch_normalization{end}/beta" for end in ("", "_1", "_2")]
    names += [f"{B0}/blocks_1/depthwise_conv2d/depthwise_kernel"]
    names += [f"{B0}/blocks_1/conv2d{end}/kernel" for end in ("", "_1")]
    wide = [path.split("/")[3] for path in paths_of(*names)]
    assert wide == ["_bn0", "_bn1", "_bn2", "_depthwise_conv", "_expand_conv", "_project_conv"]


def test_object_paths_heads_count_levels_from_the_lowest() -> None:
    assert paths_of("class_net/class-0-bn-4/beta", min_level=4) == ["class_net/bns/0/0/beta"]


def test_object_paths_last_layer_of_the_segmentation_head_is_its_own() -> None:
    names = ["segmentation_head/bn_0/beta", "segmentation_head/bn_1/beta"]
    names += [f"segmentation_head/conv2d_transpose{end}/kernel" for end in ("", "_1", "_2")]
    assert paths_of(*names)[2:] == [
        "seg_head/con2d_ts/0/kernel",
        "seg_head/con2d_ts/1/kernel",
        "seg_head/head_transpose/kernel",
    ]


def test_object_paths_unknown_name_has_no_path() -> None:
    assert paths_of("somewhere/else") == [None]


def test_object_paths_hub_module_spells_names_with_dots() -> None:
    assert hub_path(f"{B0}/stem/conv2d/kernel") == f"base_model/{B0}.Sstem.Sconv2d.Skernel:0"
    assert hub_path("class_net/class-predict/bias") == "classes/bias"
    assert hub_path("box_net/box-predict/bias") == "boxes/bias"
