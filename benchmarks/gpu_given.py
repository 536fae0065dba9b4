"""Settings and results shared by both halves of `gpu_step.py`; needs only NumPy."""

import os
import resource
from collections.abc import Callable
from dataclasses import dataclass
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
    """Our model, and with the prefix `tf_` effdet's, unless `peer_model` names another."""
    peer_model: str
    """A network of effdet; empty means the counterpart of `model_name`."""
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
    peer_compiler: str
    """Backend of torch.compile for effdet; empty disables torch.compile."""

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


def images_a_second(one_round: Round, given: Given) -> float:
    """Returns the median rate of rounds of `given.steps` steps; three warm-up rounds precede them."""
    seconds = median_seconds({"round": one_round}, given.rounds)["round"]
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
