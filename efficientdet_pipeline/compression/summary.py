"""What compression made of a network's kernels, as compression.json in the run's folder."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np

from efficientdet_pipeline.compression.kernels import compressible_kernels
from tfrmod import fileio

FILE_NAME = "compression.json"


@dataclass(frozen=True)
class KernelSummary:
    """One kernel."""

    name: str
    weights: int
    zeros: int
    values: int
    """Different values, zero included."""


@dataclass(frozen=True)
class CompressionSummary:
    """What was asked for, and every kernel."""

    options: Mapping[str, str]
    kernels: Sequence[KernelSummary]

    @property
    def sparsity(self) -> float:
        """Share of zeros of all kernels."""
        return sum(kernel.zeros for kernel in self.kernels) / max(1, sum(kernel.weights for kernel in self.kernels))

    def sentence(self) -> str:
        """Returns the numbers of all kernels together."""
        most = max((kernel.values for kernel in self.kernels), default=0)
        return (
            f"{len(self.kernels)} kernels with {sum(kernel.weights for kernel in self.kernels):,} weights: "
            f"{100 * self.sparsity:.1f} % zeros, at most {most:,} different values in a kernel"
        )


def summarize(network: keras.Model, options: Mapping[str, str]) -> CompressionSummary:
    """Returns the summary of a network as it is now.

    Args:
      network: any Keras model.
      options: of compression that were given.
    """
    kernels = []
    for kernel in compressible_kernels(network):
        values = np.asarray(kernel.variable.value)
        kernels.append(KernelSummary(kernel.name, values.size, int(np.sum(values == 0)), len(np.unique(values))))
    return CompressionSummary(options, kernels)


def write_summary(path: Path, summary: CompressionSummary) -> None:
    """Writes compression.json."""
    content = {"options": dict(summary.options), "kernels": [asdict(kernel) for kernel in summary.kernels]}
    fileio.write_file(path, json.dumps(content, indent=1) + "\n")


def read_summary(path: Path) -> CompressionSummary | None:
    """Returns the content of compression.json; None where there is none, or not a whole one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return CompressionSummary(content["options"], [KernelSummary(**kernel) for kernel in content["kernels"]])
    except (OSError, ValueError, KeyError, TypeError):
        return None
