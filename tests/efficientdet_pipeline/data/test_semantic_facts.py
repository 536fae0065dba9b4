"""Tests of the facts about semantic maps in shards."""

from pathlib import Path

import numpy as np
import pytest

from efficientdet_pipeline.data.semantic_facts import check_classes_present, uses_background
from efficientdet_pipeline.errors import DataError
from tfrmod.annotated_image import AnnotatedImage
from tfrmod.example import encode_example
from tfrmod.masks import array_png
from tfrmod.tfrecord_io import write_records

NAMES = {1: "cat", 2: "dog", 3: "cow"}


def shard(path: Path, *values: int) -> list[str]:
    """Returns a shard with an image for each value, whose map has this value alone."""
    maps = [array_png(np.full((4, 5), value, np.uint8)) for value in values]
    images = [AnnotatedImage(filename="a.png", height=4, width=5, segmentation=each) for each in maps]
    write_records(path, [encode_example(image) for image in images])
    return [str(path)]


def test_check_classes_present_names_absent_classes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train, val = shard(tmp_path / "train", 1, 2, 255), shard(tmp_path / "val", 0, 1)
    check_classes_present(train, val, NAMES, num_train=3)
    assert "No pixel of the training maps is of cow" in caplog.text
    assert "No pixel of the validation maps is of dog:" in caplog.text
    assert "The value 0 is in the validation maps alone" in caplog.text
    assert not uses_background(train)
    assert uses_background(val)
    caplog.clear()
    check_classes_present(train, (), {1: "cat", 2: "dog"}, num_train=3)
    check_classes_present(train, val, NAMES, num_train=1001)
    assert not caplog.text


def test_check_classes_present_refuses_background_alone(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="background and ignored pixels alone"):
        check_classes_present(shard(tmp_path / "train", 0, 255), (), NAMES, num_train=2)
