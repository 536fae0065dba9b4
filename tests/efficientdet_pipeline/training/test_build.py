import efficientdet
import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.training.build import checkpoint_gradients_by_name


@pytest.fixture(scope="module")
def detector():
    return efficientdet.build_model(efficientdet.get_config("efficientdet-d0", image_size=64, num_classes=2))


def recomputed(detector) -> dict[str, list[int]]:
    parts = ("backbone", "neck", "class_head", "box_head")
    return {name: sorted(getattr(detector, name).recomputed) for name in parts if getattr(detector, name).recomputed}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("", {}),
        (".", {"backbone": list(range(16)), "neck": [0, 1, 2], "class_head": [0, 1, 2], "box_head": [0, 1, 2]}),
        ("blocks_[0-3]$", {"backbone": [0, 1, 2, 3]}),
        ("^fpn_cells/cell_1|box_net", {"neck": [1], "box_head": [0, 1, 2]}),
        ("efficientnet-b0/blocks_15|class-2", {"backbone": [15], "class_head": [2]}),
    ],
)
def test_checkpoint_gradients_by_name_selects_blocks(detector, expression: str, expected: dict[str, list[int]]) -> None:
    checkpoint_gradients_by_name(detector, expression)
    assert recomputed(detector) == expected


def test_checkpoint_gradients_by_name_replaces_the_previous_selection(detector) -> None:
    checkpoint_gradients_by_name(detector, "cell_")
    checkpoint_gradients_by_name(detector, "class-0")
    assert recomputed(detector) == {"class_head": [0]}


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("Add", "the names are efficientnet-b0/blocks_0 to efficientnet-b0/blocks_15, fpn_cells/cell_0 to"),
        ("blocks_(", "must be true, false or a regular expression"),
    ],
)
def test_checkpoint_gradients_by_name_raises_if_no_block_matches(detector, expression: str, said: str) -> None:
    with pytest.raises(OptionsError, match=said.replace("(", r"\(")) as caught:
        checkpoint_gradients_by_name(detector, expression)
    assert caught.value.option == "grad_checkpoint"
