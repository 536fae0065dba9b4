"""Class names from files of all formats, and the top classes in order."""

import json
from pathlib import Path

import numpy as np
import pytest

from efficientdet_pipeline.errors import DataError, MissingError
from efficientdet_pipeline.inference.classification import (
    image_classifier,
    imagenet_names,
    read_class_names,
    top_classes,
)


def test_imagenet_names_are_a_thousand_different_ones() -> None:
    names = imagenet_names()
    assert len(names) == len(set(names)) == 1000
    assert (names[0], names[385], names[404], names[999]) == ("tench", "Indian elephant", "airliner", "toilet tissue")


@pytest.mark.parametrize(
    "text",
    [
        "cat\ndog\nfür immer\n",
        "# a comment\ncat\ndog\nfür immer\n\n",
        "background\ncat\ndog\nfür immer",
        json.dumps(["cat", "dog", "für immer"]),
        json.dumps({"1": "dog", "0": "cat", "2": "für immer"}),
        json.dumps({"0": ["n1", "cat"], "1": ["n2", "dog"], "2": ["n3", "für immer"]}),
    ],
)
def test_read_class_names_takes_the_usual_forms(tmp_path: Path, text: str) -> None:
    (tmp_path / "names").write_text(text, encoding="utf-8")
    assert read_class_names(tmp_path / "names", 3) == ("cat", "dog", "für immer")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cat\ndog", "must name the 3 classes of the classifier. It names 2"),
        ("cat\n\ndog\ncow", "line 2 is blank"),
        ('{"0": "cat", "2": "dog"}', "are not numbered from 0 without gaps"),
        ('["cat", 3, "dog"]', "a name is empty or not a string"),
        ('{"0": ', "It cannot be read"),
        ('{"a": "cat"}', "It cannot be read"),
    ],
)
def test_read_class_names_refuses(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "names").write_text(text)
    with pytest.raises(DataError, match=words.replace(".", r"\.")):
        read_class_names(tmp_path / "names", 3)


def test_read_class_names_of_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="must exist"):
        read_class_names(tmp_path / "names", 3)


def test_top_classes_are_sorted_probabilities() -> None:
    best = top_classes(np.log([0.1, 0.6, 0.3]), ["a", "b", "c"], count=2)
    assert [(each.column, each.name) for each in best] == [(1, "b"), (2, "c")]
    assert [each.score for each in best] == pytest.approx([0.6, 0.3])
    assert len(top_classes(np.zeros(3), ["a", "b", "c"])) == 3
    with pytest.raises(ValueError, match="one per name"):
        top_classes(np.zeros(3), ["a"])
    with pytest.raises(ValueError, match="must be finite"):
        top_classes(np.array([np.nan, 1.0]), ["a", "b"])


def test_image_classifier_takes_images_of_two_sizes() -> None:
    from efficientdet.classifier import ClassifierConfig, build_classifier

    model = build_classifier(ClassifierConfig(backbone_name="efficientnet-lite0", num_classes=4))
    images = [np.zeros((40, 60, 3), np.uint8), np.full((30, 20, 3), 255, np.uint8)]
    classify = image_classifier(model, "abcd", image_size=64)
    found = [classify(image, 2) for image in images]
    assert [len(each) for each in found] == [2, 2]
    assert 1 / 4 <= found[0][0].score <= 1
