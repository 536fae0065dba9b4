"""Small shards of drawn images."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from efficientdet_pipeline.visualize.annotated_figure import Style
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.example import encode_example
from tfrmod.tfrecord_io import write_records


def plain_photo(size: tuple[int, int], kind: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(content, kind)
    return content.getvalue()


def one_thing(box: tuple[float, ...], class_id: int = 1, name: str = "cat") -> AnnotatedObject:
    return AnnotatedObject(name, box, class_id)


def one_record(
    objects: Sequence[AnnotatedObject] = (), *, size: tuple[int, int] = (60, 80), kind: str = "PNG", **more: object
) -> bytes:
    fields = {"filename": "a.png", "height": size[0], "width": size[1], "encoded": plain_photo(size, kind)}
    return encode_example(AnnotatedImage(**{**fields, "objects": tuple(objects), **more}))


@pytest.fixture
def obj() -> Callable[..., AnnotatedObject]:
    """Returns a function that makes an object of box, class id and name."""
    return one_thing


@pytest.fixture
def record() -> Callable[..., bytes]:
    """Returns a function that makes the record of a grey image; size is (height, width)."""
    return one_record


@pytest.fixture
def shard(tmp_path: Path) -> Callable[..., Path]:
    """Returns a function that writes records into a file of a name."""

    def write(name: str, *records: bytes) -> Path:
        write_records(tmp_path / name, records)
        return tmp_path / name

    return write


@pytest.fixture
def style() -> Style:
    """Returns a style whose colours encode the class ids."""
    return Style(lambda class_id: (255, class_id, 0), ImageFont.load_default, {1: "cat", 2: "dog"})
