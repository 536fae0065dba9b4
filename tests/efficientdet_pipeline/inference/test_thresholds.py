"""Thresholds per class."""

from pathlib import Path

import numpy as np
import pytest

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.inference.results import ImageDetections
from efficientdet_pipeline.inference.thresholds import Thresholds, listed_classes, read_thresholds


def test_thresholds_of_each_class(tmp_path: Path) -> None:
    found = ImageDetections(np.zeros((4, 4)), np.array([0.9, 0.5, 0.5, 0.2]), np.array([1, 1, 2, 2]))
    thresholds = Thresholds(0.4, {1: 0.6})
    assert thresholds.above(found).scores.tolist() == [0.9, 0.5]
    thresholds.write(tmp_path / "thresholds.yaml")
    assert read_thresholds(tmp_path / "thresholds.yaml") == thresholds


@pytest.mark.parametrize("text", ["", "default: 2\n", "by_class: {1: 0.5}\n", "default: 0.4\nby_class: [1]\n"])
def test_read_thresholds_refuses(text: str, tmp_path: Path) -> None:
    path = tmp_path / "thresholds.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=r"thresholds\.yaml must contain score thresholds"):
        read_thresholds(path)


def test_read_thresholds_takes_classes_by_id_or_name(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.yaml"
    path.write_text("default: 0.4\nby_class: {cat: 0.3, 2: 0.6}\n")
    assert read_thresholds(path, {1: "cat", 2: "dog"}) == Thresholds(0.4, {1: 0.3, 2: 0.6})
    for wrong, words in (("bird: 0.3", "'bird' is not a class"), ("7: 0.3", "'7' is not"), ("cat: 3", "not between")):
        path.write_text(f"default: 0.4\nby_class: {{{wrong}}}\n")
        with pytest.raises(DataError, match=words):
            read_thresholds(path, {1: "cat", 2: "dog"})


def test_listed_classes_begin_with_what_resembles_the_word() -> None:
    many = {**{number: f"class{number}" for number in range(1, 30)}, 40: "toothbrush", 41: "person, adult"}
    assert listed_classes(many, "tothbrush").startswith("40 toothbrush, 1 class1, 2 class2")
    assert listed_classes(many, "person").startswith("41 person, adult, 1 class1")
    assert listed_classes(many, "person").endswith(" …; by its id if its name has a comma")
    assert listed_classes({1: "cat", 2: "dog"}, "dgo") == "1 cat, 2 dog"
