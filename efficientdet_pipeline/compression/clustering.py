"""Weight clustering while training, by the algorithm of tensorflow-model-optimization (Han et al., 2016).

The network computes with kernels of a few different values, the centroids.
Gradients reach the centroids, and straight through them the weights, which
choose their nearest centroid in each step.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import keras
import numpy as np
import tensorflow as tf
from efficientdet.types import Tensor, TensorTree

from efficientdet_pipeline.compression.kernels import SPARSE, Kernel, compressible_kernels, sparsity
from efficientdet_pipeline.compression.tfmot import import_tfmot
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.compression import ClusterSpec


class ClusteredNetwork(keras.Model):
    """A network whose kernels hold their nearest centroids.

    Takes and gives what the network takes and gives. The network's variables
    keep the weights that are trained; `strip` puts the clustered ones there.

    Args:
      network: any Keras model with its trained weights.
      spec: how many clusters, and how they begin.
    """

    def __init__(self, network: keras.Model, spec: ClusterSpec) -> None:
        super().__init__(name="clustered")
        self.network = network
        found = compressible_kernels(network, spec.pattern, option="cluster")
        self.kernels = [kernel for kernel in found if np.prod(kernel.variable.shape) > spec.number_of_clusters]
        if not self.kernels:
            raise OptionsError(
                f"number_of_clusters must be below the number of weights of a kernel. Received "
                f"{spec.number_of_clusters}; try 16.",
                option="cluster",
            )
        keeps_zeros = [spec.preserve_sparsity and sparsity(kernel) >= SPARSE for kernel in self.kernels]
        first = [
            first_centroids(kernel, spec, keeps_zeros=keeps)
            for kernel, keeps in zip(self.kernels, keeps_zeros, strict=True)
        ]
        self.kept_zeros = [(values == 0) & keeps for values, keeps in zip(first, keeps_zeros, strict=True)]
        """Which centroid stays zero, for each kernel: none where the kernel is not pruned."""
        self.centroids = [
            keras.Variable(values, name=f"centroids_{index}", dtype="float32") for index, values in enumerate(first)
        ]
        self.is_clustering = True

    def build(self, input_shape: object) -> None:
        """Nothing to make."""
        self.built = True

    def call(self, images: Tensor, training: bool = False, seed: Tensor | None = None) -> TensorTree:
        """Returns the network's outputs with clustered kernels."""
        options = {} if seed is None else {"seed": seed}
        if not self.is_clustering:
            return self.network(images, training=training, **options)
        clustered = self.clustered_kernels()
        mapping = [(kernel.variable, value) for kernel, value in zip(self.kernels, clustered, strict=True)]
        with keras.StatelessScope(state_mapping=mapping):
            return self.network(images, training=training, **options)

    def clustered_kernels(self) -> list[Tensor]:
        """Returns the kernels as the network computes with them, with tfmot's gradients."""
        algorithms, config = _algorithms(), import_tfmot("clustering.keras.cluster_config")
        values = []
        for kernel, centroids in zip(self.kernels, self.centroids, strict=True):
            algorithm = algorithms.ClusteringAlgorithm(centroids.value, config.GradientAggregation.SUM)
            # A product, whose gradient is dense: gradients are clipped, and an optimizer of Keras takes no slices.
            algorithm.cluster_centroids = centroids.value * 1.0
            weights = tf.convert_to_tensor(kernel.variable.value)
            indices = algorithm.get_pulling_indices(tf.stop_gradient(weights))
            values.append(algorithm.get_clustered_weight(indices, weights))
        return values

    def strip(self, checkpoint: Path | None = None) -> None:
        """Ends clustering; without a checkpoint that was just loaded, the network's kernels become the clustered ones.

        Args:
          checkpoint: its weights are clustered already.
        """
        if self.is_clustering and checkpoint is None:
            for kernel, value in zip(self.kernels, self.clustered_kernels(), strict=True):
                kernel.variable.assign(value)
        self.is_clustering = False

    def clustered_arrays(
        self, weights: Mapping[str, np.ndarray], centroids: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Returns the clustered kernels of a state of the training, by path.

        Args:
          weights: path → value, of all variables of the network.
          centroids: name → value.
        """
        found = {}
        for kernel, variable in zip(self.kernels, self.centroids, strict=True):
            values = np.sort(np.asarray(centroids[variable.path], np.float32))
            borders = (values[1:] + values[:-1]) / 2
            found[kernel.variable.path] = values[np.searchsorted(borders, weights[kernel.variable.path])]
        return found


class ZeroCentroids:
    """Keeps the centroid at zero of kernels that keep their zeros: a `StepHook` of the training.

    Which one it is belongs to the state, because a training that is resumed is built before its weights are known.
    """

    def __init__(self, network: ClusteredNetwork) -> None:
        self.network = network
        self.is_zero = [
            keras.Variable(
                values.astype(np.uint8),
                trainable=False,
                dtype="uint8",
                aggregation="only_first_replica",
                name=f"zero_centroids_{index}",
            )
            for index, values in enumerate(network.kept_zeros)
        ]

    @property
    def state(self) -> Sequence[keras.Variable]:
        """Which centroids are zero."""
        return self.is_zero

    def update(self, step: tf.Tensor) -> None:
        """Sets them to zero again."""
        del step
        for centroids, is_zero in zip(self.network.centroids, self.is_zero, strict=True):
            centroids.assign(centroids.value * (1.0 - tf.cast(is_zero.value, tf.float32)))


def first_centroids(kernel: Kernel, spec: ClusterSpec, *, keeps_zeros: bool) -> np.ndarray:
    """Returns the centroids that a kernel begins with, as tfmot initializes them."""
    config = import_tfmot("clustering.keras.cluster_config")
    factory = import_tfmot("clustering.keras.clustering_centroids").CentroidsInitializerFactory
    method = config.CentroidInitialization[spec.cluster_centroids_init]
    weights = tf.convert_to_tensor(kernel.variable.value)
    initializer = factory.get_centroid_initializer(method)(
        weights, spec.number_of_clusters, False, "channels_last", keeps_zeros
    )
    return np.asarray(initializer.get_cluster_centroids(), np.float32)


def cluster(network: keras.Model, spec: ClusterSpec) -> int:
    """Clusters a network at once, without training; returns the largest number of different values of a kernel.

    Args:
      network: any Keras model with its trained weights, which are changed.
      spec: how many clusters, and how they begin.
    """
    clustered = ClusteredNetwork(network, spec)
    clustered.strip()
    return max(len(np.unique(np.asarray(kernel.variable.value))) for kernel in clustered.kernels)


def _algorithms() -> ModuleType:
    return import_tfmot("clustering.keras.clustering_algorithm")
