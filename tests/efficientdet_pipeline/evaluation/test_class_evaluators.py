"""Evaluation by classes: values of maps are joined with the columns of a network by name."""

import dataclasses
import logging
from pathlib import Path

import pytest
import tensorflow as tf
from small_class_networks import SEGMENTATION

from efficientdet_pipeline.evaluation.class_evaluators import semantic_classes
from tfrmod.manifest import FILE_NAME, ImageSizes, Manifest


def columns(folder: Path, names: dict[int, str], values: list[int], *, has_background: bool = True) -> list[int]:
    sizes = ImageSizes(median_height=2, median_width=2, max_height=2, max_width=2)
    manifest = Manifest(
        source="s",
        options={},
        label_map=names,
        splits={},
        max_instances_per_image=1,
        image_sizes=sizes,
        problems={},
        folder=folder,
    )
    manifest.save(folder / FILE_NAME)
    label_map = SEGMENTATION.label_map if has_background else {0: "a", 1: "b"}
    network = dataclasses.replace(SEGMENTATION, label_map=label_map, has_background=has_background)
    found = semantic_classes([str(folder / "val-0")], network).columns(tf.constant([values], tf.uint8))
    return found[0].numpy().tolist()  # type: ignore[no-any-return]


def test_semantic_classes_are_joined_by_name(tmp_path: Path) -> None:
    assert columns(tmp_path, {1: "a", 2: "b"}, [0, 1, 2, 255]) == [0, 1, 2, 255]
    assert columns(tmp_path, {1: "b", 7: "a"}, [0, 1, 7, 255]) == [0, 2, 1, 255]
    assert columns(tmp_path, {1: "b", 2: "a"}, [0, 1, 2, 255], has_background=False) == [255, 1, 0, 255]


def test_semantic_classes_of_other_names_are_matched_by_number(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert columns(tmp_path, {1: "b", 2: "x"}, [1, 2]) == [1, 2]
    assert "matched by number, since the network has none named x; it has background, a, b." in caplog.text
