"""Fixtures: small generated datasets of every format."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfrmod.annotated_image import AnnotatedImage
from tfrmod.masks import array_png
from tfrmod.problems import Problem
from tfrmod.sources import SOURCES, Listing

ReadAll = Callable[..., tuple[Listing, dict[str, AnnotatedImage], list[Problem]]]


def things(image: AnnotatedImage) -> list[tuple[str, tuple[float, ...]]]:
    """Returns names and boxes alone, in order."""
    return [(thing.name, thing.box) for thing in image.objects]


def as_bytes(content: Any) -> bytes:
    """Returns bytes as they are, text in UTF-8, an array as PNG, and anything else as JSON."""
    if isinstance(content, np.ndarray):
        return array_png(content)
    if isinstance(content, bytes):
        return content
    return (content if isinstance(content, str) else json.dumps(content)).encode()


@pytest.fixture
def names_and_boxes() -> Callable[[AnnotatedImage], list[tuple[str, tuple[float, ...]]]]:
    return things


@pytest.fixture
def put(tmp_path: Path, encode_image) -> Callable[..., Path]:
    """Writes files below one folder: bytes, text, something for JSON, an array as PNG; None is an image of 64x48."""

    def write(files: dict[str, Any]) -> Path:
        root = tmp_path / "data"
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_image() if content is None else as_bytes(content))
        return root

    return write


@pytest.fixture
def read_all() -> ReadAll:
    """Lists and reads everything: the listing, {image path: image}, and all problems."""

    def read(source: str, folder: Path, *, masks: bool = False):
        listing = SOURCES[source].listing(folder)
        problems, images = list(listing.problems), {}
        for entry in listing.entries:
            reading = SOURCES[source].read(folder, entry, masks=masks)
            problems += reading.problems
            if reading.image is not None:
                images[entry.image] = reading.image
        return listing, images, problems

    return read
