import pytest
from efficientdet.automl.identify import likely_models


def shapes_in_tf1(blocks: int, se: bool, cells: int, filters: int, repeats: int) -> dict[str, tuple[int, ...]]:
    keys = {f"efficientnet-b0/blocks_{n}/conv2d/kernel": (1, 1, 8, 8) for n in range(blocks)}
    keys |= {"efficientnet-b0/blocks_0/se/conv2d/bias": (8,)} if se else {}
    keys |= {f"fpn_cells/cell_{n}/fnode0/WSM": () for n in range(cells)}
    return keys | {f"class_net/class-{n}/pointwise_kernel": (1, 1, filters, filters) for n in range(repeats)}


@pytest.mark.parametrize(
    ("traits", "models"),
    [
        ((16, True, 3, 64, 3), ["efficientdet-d0"]),
        ((16, False, 3, 64, 3), ["efficientdet-lite0"]),
        ((45, True, 8, 384, 5), ["efficientdet-d6", "efficientdet-d7"]),
        ((55, True, 8, 384, 5), ["efficientdet-d7x"]),
        ((7, True, 3, 64, 3), []),
    ],
)
def test_identify_traits_determine_the_model(traits: tuple, models: list[str]) -> None:
    assert likely_models(shapes_in_tf1(*traits)) == models


def test_identify_other_notations_have_the_same_traits() -> None:
    in_tf2 = {f"backbone/_blocks/{n}/_se/x/bias": (8,) for n in range(23)}
    in_tf2 |= {f"fpn_cells/cells/{n}/fnodes/0/WSM": () for n in range(4)}
    in_tf2 |= {f"class_net/conv_ops/{n}/pointwise_kernel": (1, 1, 88, 88) for n in range(3)}
    ours = {"backbone/blocks/mb_conv_22/squeeze_excite/x/vars/0": (8,)}
    ours |= {"neck/cells/cell_3/x/vars/0": (), "class_head/convs/separable_conv2d/vars/1": (1, 1, 88, 88)}
    ours |= {"class_head/convs/separable_conv2d_2/vars/0": (3, 3, 88, 1)}
    assert likely_models(in_tf2) == likely_models(ours) == ["efficientdet-d1"]


def test_identify_backbone_alone_is_named_by_its_scope() -> None:
    assert likely_models({"efficientnet-b3/stem/conv2d/kernel": (3, 3, 3, 40)}) == ["efficientnet-b3"]


def test_identify_nothing_known_is_no_model() -> None:
    assert likely_models({"dense/kernel": (8, 8)}) == []
