"""Tests of the inference graph: the outputs of the model with fewer operations."""

import collections
import importlib.util
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from efficientdet import inference_form
from efficientdet.automl.variable_names import variable_names
from efficientdet.config import DetectorConfig, get_config
from efficientdet.inference_form import folded, inference_graph, inference_network
from efficientdet.model import build_model

TOLERANCE = 1e-4  # of the largest value of a level
TINY = {"image_size": 64, "num_classes": 3, "fpn_cell_repeats": 1, "box_class_repeats": 1}

_page = Path(__file__).parents[1] / "contract" / "test_network.py"
_spec = importlib.util.spec_from_file_location("contract_network", _page)
assert _spec is not None
assert _spec.loader is not None
contract = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(contract)


def network_of(name: str, kernel_gain: float = 1.0, **hparams: Any) -> tuple[keras.Model, DetectorConfig]:
    """Returns a network with the procedural weights of the contract tests, none of which is a default."""
    config = get_config(name, **hparams)
    model = build_model(config)
    for variable, weight in variable_names(model).items():
        weight.assign(contract.procedural_weight(variable, tuple(weight.shape), kernel_gain))
    return model, config


def check_equal(model: keras.Model, config: DetectorConfig, num_images: int = 1) -> None:
    images = np.random.RandomState(0).uniform(-2, 2, (num_images, *config.image_size, 3)).astype(np.float32)
    expected, received = model(images, training=False), inference_network(model, config)(tf.constant(images))
    assert expected.keys() == received.keys()
    for head, levels in expected.items():
        pairs = (
            [(levels, received[head])] if head == "segmentation" else [(levels[n], received[head][n]) for n in levels]
        )
        for wanted, found in pairs:
            largest = float(np.abs(wanted).max())
            assert largest > 0
            np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE * largest)


@pytest.mark.parametrize("name", ["efficientdet-d0", "efficientdet-lite0"])
def test_inference_network_equals_the_model(name: str) -> None:
    check_equal(*network_of(name, **TINY), num_images=2)


@pytest.mark.parametrize("weight_method", ["attn", "channel_fastattn"])
def test_inference_network_of_other_fusions(weight_method: str) -> None:
    overrides = {"fpn_weight_method": weight_method, "conv_bn_act_pattern": True, "conv_after_downsample": True}
    check_equal(*network_of("efficientdet-d0", **TINY, **overrides, separable_conv=False, act_type="hswish"))


@pytest.mark.parametrize(
    "name", ["lite0", *(pytest.param(case, marks=pytest.mark.slow) for case in contract.CASES if case != "lite0")]
)
def test_inference_network_of_contract(name: str) -> None:
    case = contract.golden(name)
    sizes = {"image_size": case["image_size"], "num_classes": case["num_classes"]}
    check_equal(*network_of(case["model"], case["kernel_gain"], **sizes, **case["overrides"]))


def test_inference_graph_has_no_trace_of_training() -> None:
    model, config = network_of("efficientdet-d0", **TINY)
    graph = inference_graph(model, config, batch_size=1)
    counts = collections.Counter(node.op for node in graph.graph_def.node)
    assert not counts.keys() & {"FusedBatchNormV3", "IdentityN", "RealDiv", "Relu", "ReadVariableOp", "VarHandleOp"}
    # Of the class head's one shared layer, a convolution per level; likewise of the box head's.
    names = [node.name for node in graph.graph_def.node if node.op == "Conv2D"]
    assert sum("norm_0_level" in name for name in names) == 2 * len(config.levels)
    assert len(graph.outputs) == len(graph.output_keys) == 2 * len(config.levels)


def test_inference_graph_is_frozen_as_by_tensorflows_converter(monkeypatch: pytest.MonkeyPatch) -> None:
    model, config = network_of("efficientdet-lite0", **TINY)
    images = np.random.RandomState(0).uniform(-2, 2, (1, *config.image_size, 3)).astype(np.float32)
    frozen: list[tf.compat.v1.GraphDef | None] = []
    freeze = inference_form._frozen
    monkeypatch.setattr(inference_form, "_frozen", lambda function: frozen.append(freeze(function)) or frozen[-1])
    own = inference_network(model, config)(tf.constant(images))
    monkeypatch.setattr(inference_form, "_frozen", lambda function: None)
    other = inference_network(model, config)(tf.constant(images))
    assert frozen[0] is not None
    tf.nest.map_structure(np.testing.assert_array_equal, own, other)


def graph_of(function: Any, *shape: int | None) -> tuple[tf.compat.v1.GraphDef, tf.Tensor]:
    with tf.Graph().as_default() as graph:
        images = tf.compat.v1.placeholder(tf.float32, shape, name="images")
        tf.identity(function(images), name="output")
    return graph.as_graph_def(), images


def run(graph_def: tf.compat.v1.GraphDef, images: np.ndarray) -> np.ndarray:
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(graph_def, name="")
        with tf.compat.v1.Session(graph=graph) as session:
            return session.run("output:0", {"images:0": images})


def normalized(x: tf.Tensor) -> tf.Tensor:
    numbers = np.random.RandomState(1).uniform(0.5, 2.0, (4, int(x.shape[-1]))).astype(np.float32)
    return tf.raw_ops.FusedBatchNormV3(
        x=x, scale=numbers[0], offset=numbers[1], mean=numbers[2], variance=numbers[3], is_training=False
    )[0]


def test_folded_keeps_a_normalization_without_its_own_convolution_as_a_product_and_a_sum() -> None:
    kernel = np.random.RandomState(2).standard_normal((3, 3, 2, 4)).astype(np.float32)

    def twice_read(x: tf.Tensor) -> tf.Tensor:
        y = tf.nn.conv2d(x, kernel, 1, "SAME")
        return normalized(y) + y + normalized(tf.nn.relu(y))

    graph_def, _ = graph_of(twice_read, 1, 8, 8, 2)
    form = folded(graph_def, ["output"])
    images = np.random.RandomState(3).standard_normal((1, 8, 8, 2)).astype(np.float32)
    np.testing.assert_allclose(run(form, images), run(graph_def, images), rtol=1e-5, atol=1e-5)
    assert sum(node.op == "Conv2D" for node in form.node) == 1
    assert not any(node.op == "FusedBatchNormV3" for node in form.node)
