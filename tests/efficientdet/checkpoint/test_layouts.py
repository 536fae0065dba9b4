"""Tests of the weight names of other libraries, and of the recognition of networks."""

from typing import Any

import numpy as np
import pytest
from efficientdet.backbones.stages import SCALES
from efficientdet.checkpoint.layouts import LAYOUTS, _variables, recognize
from efficientdet.errors import CheckpointError

NETWORKS = ["efficientnet-pytorch efficientnet-b0", "timm efficientnet-b0", "timm efficientnet-lite0"]


@pytest.mark.parametrize("network", NETWORKS)
def test_recognize_knows_every_weight_that_the_library_has(network: str, torch_golden: Any) -> None:
    layout, backbone = network.split(" ")
    shapes = {key: tuple(shape) for key, shape in torch_golden["procedural"][network]["shapes"]}
    found = recognize(shapes, "x.pth")
    assert (found.layout, found.backbone) == (layout, backbone)
    left = shapes.keys() - set(found.keys.values())
    assert all(key.endswith("num_batches_tracked") for key in left)


@pytest.mark.parametrize("backbone", SCALES)
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_recognize_tells_all_networks_apart(layout: Any, backbone: str) -> None:
    variables = _variables(layout, backbone)
    shapes = {each.key: each.shape for each in variables}
    assert len(shapes) == len({each.name for each in variables}) == len(variables)
    found = recognize(shapes, "x")
    assert (found.layout, found.backbone) == (layout.name, backbone)
    without_head = {key: shape for key, shape in shapes.items() if not _is_head(variables, key)}
    assert len(without_head) == len(shapes) - 7
    assert recognize(without_head, "x").backbone == backbone


def _is_head(variables: Any, key: str) -> bool:
    return any(each.key == key and "/head/" in each.name for each in variables)


@pytest.mark.parametrize(
    ("number", "backbone"),
    [
        ("d0", "efficientnet-b0"),
        ("d3", "efficientnet-b3"),
        ("lite0", "efficientnet-lite0"),
        ("lite4", "efficientnet-lite4"),
    ],
)
def test_recognize_names_the_variables_that_a_detector_has(number: str, backbone: str) -> None:
    import efficientdet

    small = {"fpn_num_filters": 8, "fpn_cell_repeats": 1, "box_class_repeats": 1}
    model = efficientdet.build_model(efficientdet.get_config(f"efficientdet-{number}", **small))
    names = efficientdet.checkpoint.variable_names(model)
    wanted = {name: tuple(each.shape) for name, each in names.items() if name.startswith("efficientnet-")}
    keras = next(layout for layout in LAYOUTS if not layout.is_torch)
    found = {each.name: each.shape for each in _variables(keras, backbone) if "/head/" not in each.name}
    assert found == wanted


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["features.1.0.block.0.0.weight", "features.0.0.weight"], "an EfficientNet of torchvision"),
        (["backbone.conv_stem.weight", "fpn.cell.0.x"], "a detector of effdet"),
        (["conv1.weight", "layer1.0.conv1.weight"], "a ResNet"),
        (["model.0.conv.weight"], "a YOLO detector"),
        (["other"], "another network: other"),
    ],
)
def test_recognize_refuses_other_networks_by_name(keys: list[str], words: str) -> None:
    with pytest.raises(CheckpointError, match=rf"x\.pth must hold weights of an EfficientNet.*{words}"):
        recognize(dict.fromkeys(keys, (1,)), "x.pth")


def test_recognize_refuses_other_shapes() -> None:
    shapes: dict[str, tuple[int, ...]] = {each.key: each.shape for each in _variables(LAYOUTS[1], "efficientnet-b0")}
    changes: list[dict[str, tuple[int, ...]]] = [
        {"conv_stem.weight": (30, 3, 3, 3)}, {"blocks.7.0.conv_pw.weight": (1, 1, 1, 1)}, {"bn1.weight": (32, 1)},
    ]  # fmt: skip
    for change in changes:
        with pytest.raises(CheckpointError, match=r"shapes, the first of them .* are of none of these"):
            recognize({**shapes, **change}, "x")
    with pytest.raises(CheckpointError, match="are of none"):
        recognize({key: shape for key, shape in shapes.items() if key != "blocks.3.1.bn2.bias"}, "x")


def test_layouts_values_have_the_order_of_tensorflow() -> None:
    found = recognize({each.key: each.shape for each in _variables(LAYOUTS[0], "efficientnet-lite0")}, "x")
    kernel = np.arange(24).reshape(4, 3, 2, 1)
    assert found.values("efficientnet-lite0/stem/conv2d/kernel", kernel)[1, 0, 2, 3] == kernel[3, 2, 1, 0]
    depthwise = np.arange(18).reshape(2, 1, 3, 3)
    name = "efficientnet-lite0/blocks_0/depthwise_conv2d/depthwise_kernel"
    assert found.values(name, depthwise)[2, 1, 0, 0] == depthwise[0, 0, 2, 1]
    assert found.values("efficientnet-lite0/head/dense/kernel", np.zeros((5, 2))).shape == (2, 5)
    assert found.values("efficientnet-lite0/head/dense/bias", np.zeros(5, "float64")).dtype == np.float32
