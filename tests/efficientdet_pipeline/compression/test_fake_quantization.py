"""Fake quantization: the same network, tfmot's rounding, ranges that move and are fixed, and int8 files with them."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from efficientdet.unet import UNetConfig, build_unet
from tiny_network import tiny_network

from efficientdet_pipeline.compression.fake_quantization import (
    ActivationRanges,
    QuantizedNetwork,
    fake_quantized,
    read_ranges,
    rounded_kernel,
)
from efficientdet_pipeline.compression.network_graph import network_graph
from efficientdet_pipeline.compression.quantization_plan import quantization_plan
from efficientdet_pipeline.compression.tfmot import import_tfmot
from efficientdet_pipeline.errors import DataError

IMAGES = np.random.default_rng(0).standard_normal((2, 64, 64, 3)).astype("float32")


def spread(network: keras.Model) -> keras.Model:
    """Gives batch norms statistics that are not those of the beginning."""
    random = np.random.default_rng(1)
    for variable in network.variables:
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
        elif variable.name in ("beta", "moving_mean"):
            variable.assign(random.uniform(-0.3, 0.3, variable.shape))
    return network


@pytest.fixture(scope="module", params=["efficientdet-lite0", "efficientdet-d0"])
def network(request: pytest.FixtureRequest) -> keras.Model:
    return spread(tiny_network(request.param))


@pytest.fixture(scope="module")
def quantized(network: keras.Model) -> QuantizedNetwork:
    found = QuantizedNetwork(network, (64, 64))
    found.calibrate(IMAGES)
    return found


def flat(outputs: Any) -> list[np.ndarray]:
    return [np.asarray(each) for each in tf.nest.flatten(outputs)]


def test_network_graph_computes_what_the_network_computes(network: keras.Model) -> None:
    graph = network_graph(network, (64, 64))
    tensors = {graph.image: tf.constant(IMAGES)} | {name: each.value for name, each in graph.variables.items()}
    for operation in graph.operations:
        values = operation.compute([tensors[name] for name in operation.inputs])
        tensors |= {f"{operation.name}:{number}": value for number, value in enumerate(values)}
    received = graph.pack([tensors[name] for name in graph.outputs])
    expected = network(IMAGES, training=False)
    for wanted, found in zip(flat(expected), flat(received), strict=True):
        assert np.allclose(wanted, found, atol=1e-6)
    assert set(graph.output_groups) == {"class", "box"}


def test_quantization_plan_folds_norms_and_rounds_each_operation_of_the_device(network: keras.Model) -> None:
    graph = network_graph(network, (64, 64))
    plan = quantization_plan(graph)
    kinds = [step.operation.kind for step in plan.steps]
    assert not {"FusedBatchNormV3", "BiasAdd", "Relu6"} & set(kinds)
    convolutions = [step for step in plan.steps if step.is_convolution]
    assert all(step.output in plan.ranges for step in convolutions)
    is_swish = "d0" in network.name
    assert len(plan.fixed) == kinds.count("Sigmoid") == (38 if is_swish else 0)
    assert all(step.activation is None for step in plan.steps) == is_swish
    heads = [plan.sources.get(name, name) for name in graph.outputs]
    assert len({plan.ranges[name] for name in heads}) == 2


def test_quantized_network_is_near_the_network_and_has_gradients(
    network: keras.Model, quantized: QuantizedNetwork
) -> None:
    expected, received = flat(network(IMAGES, training=False)), flat(quantized(IMAGES))
    for wanted, found in zip(expected, received, strict=True):
        assert np.abs(wanted - found).max() < 0.25 * np.abs(wanted).max()
    assert any(not np.array_equal(wanted, found) for wanted, found in zip(expected, received, strict=True))
    variables = network.trainable_variables
    with tf.GradientTape() as tape:
        outputs = quantized(IMAGES, training=True)
        loss = tf.add_n([tf.reduce_sum(each) for each in tf.nest.flatten(outputs)])
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    assert all(each is not None and np.isfinite(np.asarray(each)).all() for each in gradients)


def test_quantized_network_saves_and_loads_its_ranges(quantized: QuantizedNetwork, tmp_path: Path) -> None:
    path = tmp_path / "ranges.json"
    assert read_ranges(path) is None
    quantized.save_ranges(path)
    again = QuantizedNetwork(quantized.network, (64, 64))
    again.load_ranges(path)
    for wanted, found in zip(flat(quantized(IMAGES)), flat(again(IMAGES)), strict=True):
        assert np.array_equal(wanted, found)
    path.write_text('{"ranges": [[-1, 1]]}', encoding="utf-8")
    with pytest.raises(DataError, match=r"must hold the ranges of .* tensors of this network\. Received 1"):
        again.load_ranges(path)
    path.write_text('{"ranges": [[1, 2]]}', encoding="utf-8")
    with pytest.raises(DataError, match="must hold finite ranges around zero"):
        read_ranges(path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="It is damaged"):
        read_ranges(path)


def test_rounded_kernel_is_that_of_tfmot_for_each_output_channel() -> None:
    kernel = np.random.default_rng(0).standard_normal((3, 3, 4, 5)).astype("float32")
    low, high = tf.Variable(np.zeros(5, "float32")), tf.Variable(np.zeros(5, "float32"))
    expected = import_tfmot("quantization.keras.quant_ops").LastValueQuantize(
        tf.constant(kernel), low, high, per_channel=True, is_training=True, narrow_range=True, symmetric=True
    )
    assert np.array_equal(rounded_kernel("Conv2D", tf.constant(kernel)), expected)
    depthwise = np.asarray(rounded_kernel("DepthwiseConv2dNative", tf.constant(kernel)))
    scale = np.abs(kernel).max(axis=(0, 1)) / 127
    assert np.allclose(depthwise, np.rint(kernel / scale) * scale, atol=1e-6)
    transposed = np.asarray(rounded_kernel("Conv2DBackpropInput", tf.constant(kernel)))
    assert np.allclose(
        transposed.transpose(0, 1, 3, 2), rounded_kernel("Conv2D", tf.constant(kernel.transpose(0, 1, 3, 2)))
    )
    assert not np.asarray(rounded_kernel("Conv2D", tf.zeros((1, 1, 2, 2)))).any()


def test_activation_ranges_move_as_those_of_tfmot() -> None:
    layer = ActivationRanges(1, decay=0.5)
    low, high = tf.Variable(0.0), tf.Variable(0.0)
    quant_ops = import_tfmot("quantization.keras.quant_ops")
    for step in range(12):
        x = tf.constant(np.random.default_rng(step).standard_normal(50).astype("float32"))
        ranges, has_ranges = layer.begin()
        own = layer.observe(0, x)
        if not bool(has_ranges):
            assert np.allclose(own, (np.min(x), np.max(x)))
        layer.move()
        decay = min(0.5, step / (9.0 + step))
        expected = quant_ops.MovingAvgQuantize(x, low, high, ema_decay=decay)
        assert np.allclose(layer.ranges[0], (float(low), float(high)), atol=1e-6)
        assert np.allclose(fake_quantized(x, layer.ranges[0, 0], layer.ranges[0, 1]), expected, atol=1e-6)
        assert ranges.shape == (1, 2)


def test_quantized_network_of_another_task() -> None:
    unet = build_unet(UNetConfig(num_classes=2))
    quantized = QuantizedNetwork(unet, (32, 32))
    quantized.calibrate(IMAGES[:, :32, :32])
    expected, received = unet(IMAGES[:, :32, :32]), quantized(IMAGES[:, :32, :32])
    assert np.abs(expected - received).max() < 0.5 * np.abs(expected).max()
