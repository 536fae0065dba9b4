"""Evaluator of classification: classes of the records and of the network are joined by name."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from small_class_networks import CLASSIFICATION

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.evaluation.classification_evaluator import labelled_images
from tfrmod.annotated_image import AnnotatedObject
from tfrmod.manifest import ShardCounts, count_files


@pytest.fixture
def shards(write_shards: Callable, image: Callable) -> Callable[[dict[int, str]], ShardCounts]:
    """Returns a function: class id → name, to shards with one image of each class."""

    def write(names: dict[int, str]) -> ShardCounts:
        whole = [AnnotatedObject(name, (0, 0, 9, 9), class_id) for class_id, name in names.items()]
        files = write_shards([image(number, [thing]) for number, thing in enumerate(whole)])
        return count_files([Path(file) for file in files])

    return write


@pytest.mark.parametrize(
    ("names", "columns"),
    [({1: "b", 2: "c"}, [1, 2]), ({5: "C", 1: "a"}, [2, 0]), ({1: "", 3: ""}, [0, 2])],
    ids=["a part of the classes", "other ids and case", "no names"],
)
def test_labelled_images_have_the_columns_of_their_names(
    shards: Callable, names: dict[int, str], columns: list[int]
) -> None:
    assert [int(record.column) for record in labelled_images(shards(names), CLASSIFICATION)] == columns


def test_labelled_images_of_other_classes_are_refused(shards: Callable) -> None:
    with pytest.raises(DataError, match=r"of the network: a, b, c\. It has 1 other classes: x\..*classes\.$"):
        labelled_images(shards({1: "a", 2: "x"}), CLASSIFICATION)


def test_labelled_images_may_have_the_names_of_the_training_data(shards: Callable) -> None:
    renamed = dataclasses.replace(CLASSIFICATION, trained_names={0: "x", 1: "y", 2: "z"})
    assert [int(record.column) for record in labelled_images(shards({1: "y", 2: "c"}), renamed)] == [1, 2]
