"""What both halves of `gpu_step.py` are given, and what they hand back; needs nothing but NumPy."""

import os
import resource
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from timing import median_seconds

BOXES = 20
"""Objects of each photo."""
PADDED_BOXES = 100
"""Rows that our ground truth is padded to; effdet takes lists without padding."""
NO_MEMORY = ("out of memory", "out_of_memory", "resource_exhausted", "allocate memory", "unable to allocate")
"""What the frameworks, and NumPy, say where memory ends; each has an error class of its own for it, or none."""
Round = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Given:
    """One measurement: the network, the batch, and how often it is stepped."""

    model_name: str
    """Ours, and with `tf_` before it effdet's, unless `peer_model` names another."""
    peer_model: str
    """A network of effdet; empty takes the counterpart of `model_name`."""
    image_size: int
    """Pixels of a side."""
    num_classes: int
    """Classes of both networks, and of the objects."""
    precision: str
    """A dtype policy of Keras; effdet autocasts to the same type."""
    batch_size: int
    """Photos of a step."""
    steps: int
    """Steps between two waits for the device."""
    rounds: int
    """Waits that the median is taken over."""
    peer_compiler: str
    """The backend of torch.compile that effdet is given to; empty leaves torch.compile out."""

    @property
    def compute_dtype(self) -> str:
        """What the networks compute in, such as bfloat16."""
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
    """Returns the median rate of rounds of `given.steps` steps; three rounds before them warm up."""
    seconds = median_seconds({"round": one_round}, given.rounds)["round"]
    return given.batch_size * given.steps / seconds


def finite_or_none(loss: Any) -> float | None:
    """Returns a loss as JSON can hold it: None where it is not finite, which no step that trains may give."""
    return float(loss) if np.isfinite(float(loss)) else None


def process_gigabytes() -> float:
    """Returns the most main memory that this process has held, in GB: on a CPU there is no other."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def is_out_of_memory(error: BaseException | str) -> bool:
    """Returns whether an error, or any that caused it, says that memory has come to its end."""
    if isinstance(error, str):
        return any(words in error.lower() for words in NO_MEMORY)
    cause = error.__cause__ or error.__context__
    return (
        isinstance(error, MemoryError)
        or is_out_of_memory(f"{type(error).__name__}: {error}")
        or (cause is not None and is_out_of_memory(cause))
    )


def failure(error: BaseException) -> dict[str, str]:
    """Returns what a measurement hands back that could not be made."""
    message = " ".join(f"{type(error).__name__}: {error}".split())
    return {"failed": "out of memory" if is_out_of_memory(error) else "error", "message": message[:600]}


def load_average() -> float:
    """Returns how many processes wanted a core in the last minute: beside a rate of a CPU, how far to trust it."""
    return round(os.getloadavg()[0], 1)
