"""Tests of the facts about semantic maps in shards."""

from pathlib import Path

import numpy as np
import pytest

from efficientdet_pipeline.data.semantic_facts import check_classes_present, names_beside, uses_background
from efficientdet_pipeline.errors import DataError
from tfrmod.annotated_image import AnnotatedImage
from tfrmod.example import encode_example
from tfrmod.manifest import Manifest
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


def test_check_classes_present_refuses_values_without_a_class(tmp_path: Path) -> None:
    train, val = shard(tmp_path / "train", 0, 1), shard(tmp_path / "val", 0, 7)
    with pytest.raises(DataError, match=r"the value 7, and names of the values up to 2 \('dog'\)"):
        check_classes_present(train, val, {1: "cat", 2: "dog"}, num_train=2)


def test_names_beside_are_those_of_all_manifests(tmp_path: Path) -> None:
    for name, label_map in (("a", {1: "cat"}), ("b", {2: "dog"}), ("c", {1: "cow"})):
        (tmp_path / name).mkdir()
        made = Manifest(
            source="", options={}, label_map=label_map, splits={}, max_instances_per_image=0, folder=tmp_path / name
        )
        made.save(tmp_path / name / "manifest.json")
    files = [str(tmp_path / name / "train-0.tfrecord") for name in ("a", "b", "none", "c")]
    assert names_beside(files[:3]) == {1: "cat", 2: "dog"}
    with pytest.raises(DataError, match=r"The value 1 is 'cat' in some shards and 'cow' in those of .*c\."):
        names_beside(files)
    with pytest.raises(DataError, match=r"none has no manifest\.json, .* try --label_map=road,car"):
        names_beside(files[2:3])
