"""Shards of a few drawn photos."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.example import encode_example
from tfrmod.tfrecord_io import shard_name, write_records

HEIGHT, WIDTH = 24, 32


def encoded(number: int, extension: str = ".png") -> bytes:
    """Returns a plain photo whose red is its number."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[..., 2] = number  # OpenCV's order is blue, green, red.
    return cv2.imencode(extension, picture)[1].tobytes()


def annotated(number: int, objects: Sequence[AnnotatedObject] = ()) -> AnnotatedImage:
    return AnnotatedImage(
        filename=f"{number}.png",
        objects=tuple(objects),
        height=HEIGHT,
        width=WIDTH,
        encoded=encoded(number),
        format="png",
        source_id=str(number),
    )


def thing(class_id: int, *, is_crowd: bool = False, box: tuple[float, ...] = (6, 8, 18, 24)) -> AnnotatedObject:
    return AnnotatedObject(name=f"class {class_id}", box=box, class_id=class_id, is_crowd=is_crowd)


@pytest.fixture
def write_shards(tmp_path: Path) -> Callable[..., tuple[str, ...]]:
    """Returns a function: images of each shard → the shards' paths."""

    def write(*shards: Sequence[AnnotatedImage]) -> tuple[str, ...]:
        paths = [tmp_path / shard_name("train", index, len(shards)) for index in range(len(shards))]
        for path, images in zip(paths, shards, strict=True):
            write_records(path, (encode_example(image) for image in images))
        return tuple(str(path) for path in paths)

    return write


@pytest.fixture
def image() -> Callable[..., AnnotatedImage]:
    return annotated


@pytest.fixture
def box_of() -> Callable[..., AnnotatedObject]:
    return thing
