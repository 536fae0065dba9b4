"""The kernels of a network that compression works on."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from efficientdet_pipeline.errors import OptionsError

SPARSE = 0.1
"""Share of zeros from which a kernel counts as pruned."""
_LARGE = 0.9
"""Share of the weights of all but depthwise kernels that the large kernels hold together."""


@dataclass(frozen=True)
class Kernel:
    """A kernel of a convolution or of a dense layer."""

    name: str
    """Path of the variable without the network's name, such as backbone/block_3/expand_conv/kernel."""
    variable: keras.Variable
    is_depthwise: bool


def compressible_kernels(network: keras.Model, pattern: str = "", *, option: str = "prune") -> list[Kernel]:
    """Returns the kernels of all convolutions (full, depthwise, pointwise) and dense layers.

    Args:
      network: any Keras model.
      pattern: regular expression that is searched for in their names; empty for all.
      option: that gave the pattern, for the message.

    Raises:
      OptionsError: no name matches.
    """
    found = {}
    for layer in network._flatten_layers():
        for variable in layer._trainable_variables:
            if variable.name.endswith("kernel") and len(variable.shape) >= 2:
                is_depthwise = variable.name == "depthwise_kernel" or isinstance(layer, keras.layers.DepthwiseConv2D)
                name = variable.path.removeprefix(f"{network.name}/")
                found[id(variable)] = Kernel(name, variable, is_depthwise)
    in_order = [found[id(variable)] for variable in network.trainable_variables if id(variable) in found]
    kernels = [kernel for kernel in in_order if re.search(pattern, kernel.name)]
    if not kernels:
        names = [kernel.name for kernel in in_order]
        raise OptionsError(
            f"pattern must match the name of a kernel. Received {pattern!r} (--{option}); names look like "
            f"{', '.join(names[:: max(1, len(names) // 4)])}.",
            option=option,
        )
    return kernels


def large_kernels(kernels: Sequence[Kernel]) -> list[Kernel]:
    """Returns the largest kernels in the order given, without depthwise ones.

    Together they hold nine tenths of the weights of full and 1x1 convolutions and dense layers. Depthwise kernels and
    the small ones of a neck and its heads hold few weights and most of the sensitivity: an EfficientDet-lite0 half of
    whose weights become zero, without training, has an AP of .03 in place of .52 if every kernel loses half of its
    weights, and of .51 if the large ones lose as many.
    """
    sizes = {kernel.name: int(np.prod(kernel.variable.shape)) for kernel in kernels if not kernel.is_depthwise}
    missing = _LARGE * sum(sizes.values())
    chosen = set()
    for name in sorted(sizes, key=lambda each: -sizes[each]):
        if missing > 0:
            chosen.add(name)
            missing -= sizes[name]
    return [kernel for kernel in kernels if kernel.name in chosen]


def sparsity(kernel: Kernel) -> float:
    """Returns the share of zeros of a kernel."""
    return float(np.mean(np.asarray(kernel.variable.value) == 0))


def overall_sparsity(kernels: Sequence[Kernel]) -> float:
    """Returns the share of zeros of all kernels together."""
    zeros = sum(int(np.sum(np.asarray(kernel.variable.value) == 0)) for kernel in kernels)
    return zeros / max(1, sum(int(np.prod(kernel.variable.shape)) for kernel in kernels))


def sparsity_by_layer(kernels: Sequence[Kernel]) -> Mapping[str, float]:
    """Returns the share of zeros of each kernel, by name, and of all, as `all`, for TensorBoard."""
    values = {kernel.name: sparsity(kernel) for kernel in kernels}
    return {f"sparsity/{name}": value for name, value in values.items()} | {"sparsity_all": overall_sparsity(kernels)}
