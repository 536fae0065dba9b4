"""Pruning, quantization-aware training and clustering of the networks of automl, whole, on their smallest canvas."""

from collections.abc import Callable, Sequence
from pathlib import Path

import efficientdet
import keras
import numpy as np
import pytest
import tensorflow as tf
from trained_like import take_statistics

from efficientdet_pipeline.compression.clustering import ClusteredNetwork
from efficientdet_pipeline.compression.fake_quantization import QuantizedNetwork
from efficientdet_pipeline.compression.kernels import compressible_kernels, sparsity
from efficientdet_pipeline.compression.pruning import KeptZeros, prune
from efficientdet_pipeline.export.formats import TFLITE
from efficientdet_pipeline.export.tflite_learnt import agreement, quantized_network
from efficientdet_pipeline.export.trained_detector import TrainedDetector
from efficientdet_pipeline.inference.canvas import normalized
from efficientdet_pipeline.options.compression import ClusterSpec, PruneSpec

SIDE = 64
NAMES = [*(f"efficientdet-d{number}" for number in range(3)), *(f"efficientdet-lite{number}" for number in range(5))]
IMAGES = np.random.default_rng(0).integers(0, 256, (8, SIDE, SIDE, 3), dtype=np.uint8)


def network_of(name: str) -> keras.Model:
    """Returns the network with the batch statistics of the images."""
    keras.utils.set_random_seed(3)
    network = efficientdet.build_model(efficientdet.get_config(name, image_size=SIDE, num_classes=2))
    return take_statistics(network, IMAGES)


def train_a_step(
    forward: Callable[..., object], images: tf.Tensor, variables: Sequence[keras.Variable], rate: float = 1e-4
) -> None:
    """Moves the variables against the gradients of the sum of squared outputs."""

    @tf.function(autograph=False)
    def gradients() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            outputs = tf.nest.flatten(forward(images, training=True))
            loss = tf.add_n([tf.reduce_mean(tf.square(each)) for each in outputs])
        return tape.gradient(loss, [variable.value for variable in variables], unconnected_gradients="zero")

    found = gradients()
    assert all(np.isfinite(each).all() for each in found)
    assert sum(float(tf.reduce_sum(tf.abs(each))) for each in found) > 0
    for variable, gradient in zip(variables, found, strict=True):
        variable.assign(variable.value - rate * tf.clip_by_norm(gradient, 1.0))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_network_is_pruned_trained_with_rounding_and_exported(name: str, tmp_path: Path) -> None:
    network = network_of(name)
    images = normalized(tf.constant(IMAGES, tf.float32), network.config)
    assert prune(network, PruneSpec(sparsity=0.5, pattern=".")) == pytest.approx(0.5, abs=0.01)
    kernels = compressible_kernels(network)
    kept = KeptZeros(kernels)
    quantized = QuantizedNetwork(network, (SIDE, SIDE))
    train_a_step(quantized, images, network.trainable_variables)
    kept.update(tf.constant(0))
    assert min(map(sparsity, kernels)) > 0.4
    for _ in range(3):
        quantized.calibrate(images)
    quantized.save_ranges(tmp_path / "ranges.json")
    detector = TrainedDetector(
        model=network,
        config=network.config,
        label_map={1: "a", 2: "b"},
        calibration=list(IMAGES),
        learnt_ranges=tmp_path / "ranges.json",
    )
    TFLITE["int8"].write(detector, tmp_path / "int8.tflite")
    found = agreement(
        detector, quantized_network(detector, tmp_path / "ranges.json"), (tmp_path / "int8.tflite").read_bytes()
    )
    assert found.within_one >= 0.999, found


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_network_is_clustered_and_trained(name: str) -> None:
    network = network_of(name)
    images = normalized(tf.constant(IMAGES, tf.float32), network.config)
    clustered = ClusteredNetwork(network, ClusterSpec(number_of_clusters=16))
    before = [np.array(each.value) for each in clustered.centroids]
    train_a_step(clustered, images, [*network.trainable_variables, *clustered.centroids])
    assert any(np.any(each != np.asarray(now.value)) for each, now in zip(before, clustered.centroids, strict=True))
    clustered.strip()
    assert max(len(np.unique(np.asarray(kernel.variable.value))) for kernel in clustered.kernels) <= 16
