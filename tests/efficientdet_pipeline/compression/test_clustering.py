"""Clustering: few values in each kernel, gradients of centroids and weights, zeros kept, clustered weights written."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_network import tiny_network

from efficientdet_pipeline.compression.clustering import ClusteredNetwork, cluster, first_centroids
from efficientdet_pipeline.compression.kernels import compressible_kernels, sparsity
from efficientdet_pipeline.compression.pruning import prune
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.compression import INITIALIZATIONS, ClusterSpec, PruneSpec


def dense() -> keras.Model:
    network = keras.Sequential([keras.Input((16,)), keras.layers.Dense(16, name="dense")], name="net")
    network.layers[0].kernel.assign(np.random.default_rng(0).standard_normal((16, 16)))
    return network


def kernel_of(network: keras.Model) -> np.ndarray:
    return np.asarray(network.layers[0].kernel.value)


def test_cluster_leaves_as_many_values_as_asked_for_and_keeps_zeros() -> None:
    network = tiny_network("efficientdet-d0")
    prune(network, PruneSpec(sparsity=0.5, pattern="."))
    zeros = {kernel.name: sparsity(kernel) for kernel in compressible_kernels(network)}
    assert cluster(network, ClusterSpec(number_of_clusters=8)) <= 8
    for kernel in compressible_kernels(network):
        assert sparsity(kernel) >= zeros[kernel.name]
        assert len(np.unique(np.asarray(kernel.variable.value))) <= 8


@pytest.mark.parametrize("method", INITIALIZATIONS)
def test_first_centroids_are_those_of_tfmot(method: str) -> None:
    network = dense()
    spec = ClusterSpec(number_of_clusters=6, cluster_centroids_init=method)
    centroids = first_centroids(compressible_kernels(network)[0], spec, keeps_zeros=False)
    values = kernel_of(network)
    assert centroids.shape == (6,)
    assert centroids.min() >= values.min() - 0.02
    assert centroids.max() <= values.max() + 0.02


def test_clustered_network_trains_centroids_and_weights() -> None:
    network = dense()
    clustered = ClusteredNetwork(network, ClusterSpec(number_of_clusters=4))
    x = np.random.default_rng(1).standard_normal((3, 16)).astype("float32")
    value = np.asarray(clustered.clustered_kernels()[0])
    assert len(np.unique(value)) == 4
    assert np.allclose(clustered(x), x @ value, atol=1e-5)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(clustered(x, training=True))
    of_kernel, of_centroids = tape.gradient(loss, [network.layers[0].kernel.value, clustered.centroids[0].value])
    expected = np.repeat(x.sum(0)[:, None], 16, axis=1)
    assert np.allclose(of_kernel, expected, atol=1e-5)
    centroids = np.asarray(clustered.centroids[0].value)
    assert np.allclose(of_centroids, [expected[value == each].sum() for each in centroids], atol=1e-4)
    path = network.layers[0].kernel.path
    arrays = clustered.clustered_arrays({path: kernel_of(network)}, {clustered.centroids[0].path: centroids})
    assert np.array_equal(arrays[path], value)
    clustered.strip()
    assert np.array_equal(kernel_of(network), value)
    assert np.allclose(clustered(x), network(x))


def test_clustered_network_refuses_more_clusters_than_weights() -> None:
    with pytest.raises(OptionsError, match="number_of_clusters must be below the number of weights of a kernel"):
        ClusteredNetwork(dense(), ClusterSpec(number_of_clusters=1000))
