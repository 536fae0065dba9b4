"""Model transforms: gradient checkpointing, and the transforms that options request."""

from types import SimpleNamespace
from typing import Any

import efficientdet
import keras
import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.training.transforms import (
    TRANSFORMS,
    FreezeBackboneFirst,
    GradientCheckpointing,
    layer_rate_factors,
)


@pytest.fixture(scope="module")
def detector():
    return efficientdet.build_model(efficientdet.get_config("efficientdet-d0", image_size=64, num_classes=2))


def recomputed(detector) -> dict[str, list[int]]:
    parts = ("backbone", "neck", "class_head", "box_head")
    return {name: sorted(getattr(detector, name).recomputed) for name in parts if getattr(detector, name).recomputed}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (".", {"backbone": list(range(16)), "neck": [0, 1, 2], "class_head": [0, 1, 2], "box_head": [0, 1, 2]}),
        ("blocks_[0-3]$", {"backbone": [0, 1, 2, 3]}),
        ("^fpn_cells/cell_1|box_net", {"neck": [1], "box_head": [0, 1, 2]}),
        ("efficientnet-b0/blocks_15|class-2", {"backbone": [15], "class_head": [2]}),
    ],
)
def test_gradient_checkpointing_selects_blocks(detector, expression: str, expected: dict[str, list[int]]) -> None:
    GradientCheckpointing(expression).on_network(detector)
    assert recomputed(detector) == expected


def test_gradient_checkpointing_replaces_the_previous_selection(detector) -> None:
    GradientCheckpointing("cell_").on_network(detector)
    GradientCheckpointing("class-0").on_network(detector)
    assert recomputed(detector) == {"class_head": [0]}


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("Add", "the names are efficientnet-b0/blocks_0 to efficientnet-b0/blocks_15, fpn_cells/cell_0 to"),
        ("blocks_(", "must be true, false or a regular expression"),
    ],
)
def test_gradient_checkpointing_raises_if_no_block_matches(detector, expression: str, said: str) -> None:
    with pytest.raises(OptionsError, match=said.replace("(", r"\(")) as caught:
        GradientCheckpointing(expression).on_network(detector)
    assert caught.value.option == "grad_checkpoint"


def names(**given: object) -> list[str]:
    options = compose(TrainOptions, url_dataset="demo", **given)
    return [type(each).__name__ for make in TRANSFORMS if (each := make(options, 100)) is not None]


def test_transforms_follow_the_options() -> None:
    assert names() == ["BatchNormMomentum", "MovingAverage"]
    assert names(moving_average_decay=0.0) == ["BatchNormMomentum"]
    assert names(grad_checkpoint="true", var_freeze_expr="efficientnet", freeze_backbone_epochs=2) == [
        *("GradientCheckpointing", "BatchNormMomentum", "FreezeVariables", "FreezeBackboneFirst", "MovingAverage"),
    ]


def test_layer_rate_factors_fall_from_the_last_block_to_the_stem(detector) -> None:
    factors = layer_rate_factors(detector, 0.5)
    blocks = detector.backbone.blocks
    trained = {variable.path for variable in detector.backbone.trainable_variables}
    assert factors.keys() == trained
    assert {factors[variable.path] for variable in blocks[-1].trainable_variables} == {0.5}
    assert {factors[variable.path] for variable in blocks[0].trainable_variables} == {0.5 ** len(blocks)}
    below = trained - {variable.path for block in blocks for variable in block.trainable_variables}
    assert below
    assert {factors[path] for path in below} == {0.5 ** (len(blocks) + 1)}
    assert layer_rate_factors(detector, 1.0) == {}


def test_freeze_backbone_first_says_when_it_trains_the_backbone(detector, caplog) -> None:
    model: Any = SimpleNamespace(
        network=detector, frozen=frozenset(), callbacks=[], make_train_function=lambda force: None
    )
    caplog.set_level("INFO", logger="absl")
    FreezeBackboneFirst(2).on_compiled(model)
    [callback] = model.callbacks
    callback.set_model(model)
    callback.on_epoch_begin(0)
    callback.on_epoch_begin(1)
    assert model.frozen == {variable.path for variable in detector.backbone.trainable_variables}
    assert caplog.messages == ["The backbone is frozen up to epoch 2 (--freeze_backbone_epochs)."]
    callback.on_epoch_begin(2)
    assert not model.frozen
    assert caplog.messages[1:] == ["From epoch 3 on the backbone is trained, too."]


def test_layer_rate_factors_refuse_a_backbone_without_blocks() -> None:
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    network.backbone = keras.layers.Dense(1, name="other")
    with pytest.raises(OptionsError, match="lr_layer_decay needs a backbone made of blocks"):
        layer_rate_factors(network, 0.5)
