"""Settings and results shared by the phases of `gpu_suite.py`; needs only NumPy."""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from timing import median_seconds

BOXES = 20
"""Objects per image."""
PADDED_BOXES = 100
"""Number of rows to which our ground truth is padded; effdet takes lists without padding."""
NO_MEMORY = ("out of memory", "out_of_memory", "resource_exhausted", "allocate memory", "unable to allocate")
"""Texts of out-of-memory errors of the frameworks and NumPy, which have different error classes, or none."""
Round = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Given:
    """Settings of one measurement: the network, the batch, and the number of steps."""

    model_name: str
    """Our model, and with the prefix `tf_` effdet's."""
    image_size: int
    """Side in pixels."""
    num_classes: int
    """Classes of both networks, and of the objects."""
    precision: str
    """A Keras dtype policy; effdet autocasts to the same type."""
    batch_size: int
    """Images per step."""
    steps: int
    """Steps between two synchronizations with the device."""
    rounds: int
    """Number of rounds of which the median is reported."""
    compiler: str = ""
    """Backend of torch.compile for effdet; empty: eager PyTorch."""
    network: dict[str, Any] = field(default_factory=dict)
    """Changes of our network, to make it tiny."""
    is_warmed: bool = False
    """Whether the device computes for some seconds before XLA measures kernels on it."""

    @property
    def compute_dtype(self) -> str:
        """Compute dtype, such as bfloat16."""
        return self.precision.removeprefix("mixed_")


def synthetic_batch(given: Given) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns images (b, h, w, 3) float32, boxes (b, n, 4) in canvas pixels and class ids (b, n), padded with -1."""
    random = np.random.default_rng(0)
    batch, size = given.batch_size, given.image_size
    images = random.standard_normal((batch, size, size, 3), dtype="float32")
    corners = random.uniform(0, size * 0.7, (batch, PADDED_BOXES, 2))
    sides = random.uniform(size * 0.03, size * 0.3, (batch, PADDED_BOXES, 2))
    boxes = np.concatenate([corners, corners + sides], -1).astype("float32")
    class_ids = random.integers(1, given.num_classes + 1, (batch, PADDED_BOXES)).astype("int32")
    boxes[:, BOXES:], class_ids[:, BOXES:] = -1, -1
    return images, boxes, class_ids


class Notes:
    """Results of a phase, written after each of them, so that a phase that runs out of time leaves what it has.

    Args:
      path: the JSON file.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.found: dict[str, Any] = {}
        self._began = time.perf_counter()

    def add(self, results: Mapping[str, Any]) -> None:
        """Adds results, and reports them on stderr."""
        self.found |= results
        if self.path is not None:
            partial = self.path.with_suffix(".partial")
            partial.write_text(json.dumps(self.found), encoding="utf-8")
            partial.replace(self.path)
        self.say(json.dumps(results)[:300])

    def say(self, text: str) -> None:
        """Reports progress on stderr."""
        print(f"  {time.perf_counter() - self._began:6.1f} s  {text}", file=sys.stderr, flush=True)


def images_a_second(one_round: Round, given: Given) -> float:
    """Returns the median rate of rounds of `given.steps` steps; one warm-up round precedes them."""
    seconds = median_seconds({"round": one_round}, given.rounds, warm_up=1)["round"]
    return given.batch_size * given.steps / seconds


def finite_or_none(loss: Any) -> float | None:
    """Returns a loss for JSON: None if it is not finite, which is an error in a training step."""
    return float(loss) if np.isfinite(float(loss)) else None


def process_gigabytes() -> float:
    """Returns the peak main memory of this process in GB, which on a CPU is all memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def is_out_of_memory(error: BaseException | str) -> bool:
    """Returns whether an error, or one of its causes, is an out-of-memory error."""
    if isinstance(error, str):
        return any(words in error.lower() for words in NO_MEMORY)
    cause = error.__cause__ or error.__context__
    return (
        isinstance(error, MemoryError)
        or is_out_of_memory(f"{type(error).__name__}: {error}")
        or (cause is not None and is_out_of_memory(cause))
    )


def failure(error: BaseException) -> dict[str, str]:
    """Returns the result of a failed measurement."""
    message = " ".join(f"{type(error).__name__}: {error}".split())
    return {"failed": "out of memory" if is_out_of_memory(error) else "error", "message": message[:600]}


def load_average() -> float:
    """Returns the load average of the last minute, an indication of the reliability of a rate on a CPU."""
    return round(os.getloadavg()[0], 1)
