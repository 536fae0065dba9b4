"""An image with its detections, and what every output format does with it."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from efficientdet_pipeline.inference.results import ImageDetections


class Detected(NamedTuple):
    """An image and its detections."""

    path: Path
    """As given by the user."""
    name: str
    """File name of its drawn copy: its own name, made unique in the folder."""
    image: np.ndarray
    """uint8 RGB (h, w, 3)."""
    found: ImageDetections
    """Detections of any score."""
    shown: ImageDetections
    """Detections above the thresholds."""
    stem: str
    """Stem of its text files: its name without the suffix, numbered if images share it."""


class Sink(Protocol):
    """One output format."""

    def names(self, images: Sequence[Detected]) -> list[str]:
        """Returns the files of the images, relative to the folder; `image` and `found` are not used."""

    def write(self, folder: Path, detected: Detected) -> None:
        """Writes the detections of one image."""

    def close(self, folder: Path) -> None:
        """Writes the files that cover all images."""


def planned(path: Path, name: str, stem: str) -> Detected:
    """Returns the description of an image whose pixels and detections are not known yet."""
    nothing = ImageDetections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    return Detected(path, name, np.zeros((0, 0, 3), np.uint8), nothing, nothing, stem)


def safe_name(name: str) -> str:
    """Returns a name, such as that of a class, as part of a file name."""
    return re.sub(r"[^\w-]+", "-", name).strip("-")[:40] or "class"
