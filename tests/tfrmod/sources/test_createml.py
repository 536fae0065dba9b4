"""Tests of CreateML's JSON, as written by Roboflow and RectLabel."""

import json
from typing import Any

import pytest

from tfrmod.errors import DatasetError
from tfrmod.sources import find_source

BOX = {"x": 20, "y": 15.25, "width": 20, "height": 20.5}


def thing(label: Any = "cat", **more: Any) -> dict[str, Any]:
    return {"label": label, "coordinates": {**BOX, **more}}


def test_createml_x_and_y_are_the_centre(put, read_all, names_and_boxes) -> None:
    content = [{"image": "a.jpg", "annotations": [thing()]}, {"image": "b.jpg", "annotations": []}]
    folder = put({"train/a.jpg": None, "train/b.jpg": None, "train/_annotations.createml.json": content})
    assert find_source(folder) == "createml"
    listing, images, problems = read_all("createml", folder)
    assert names_and_boxes(images["train/a.jpg"]) == [("cat", (5, 10, 25.5, 30))]
    assert (images["train/b.jpg"].objects, listing.sets) == ((), {"train": (0, 1)})
    assert [(problem.code, problem.file) for problem in problems] == [("image_unlabelled", "train/b.jpg")]


@pytest.mark.parametrize(
    "keys", [("imagefilename", "annotation"), ("image", "annotation"), ("filename", "annotations")]
)
def test_createml_other_spellings_of_the_keys(put, read_all, keys) -> None:
    _, images, problems = read_all("createml", put({"a.jpg": None, "x.json": [{keys[0]: "a.jpg", keys[1]: [thing()]}]}))
    assert (len(images["a.jpg"].objects), problems) == (1, [])


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (thing(None), "without a label"),
        (thing("\ud800"), "cannot be printed"),
        (thing(x=None), "not a number: None"),
        (thing(width="wide"), "not a number: wide"),
        (thing(x=True), "not a number: True"),
        ({"label": "cat", "coordinates": None}, "without coordinates"),
        (5, "without coordinates"),
    ],
)
def test_createml_unreadable_object_is_dropped_and_named(put, read_all, bad: Any, words: str) -> None:
    content = json.dumps([{"image": "a.jpg", "annotations": [thing(), bad]}])
    _, images, problems = read_all("createml", put({"a.jpg": None, "x.json": content}))
    assert (len(images["a.jpg"].objects), [problem.code for problem in problems]) == (1, ["object_unreadable"])
    assert words in problems[0].message


def test_createml_what_belongs_to_nothing_is_named(put, read_all) -> None:
    content = [
        {"image": "a.jpg", "annotations": [thing()]},
        {"image": "gone.jpg", "annotations": []},
        5,
        {"image": "b"},
    ]
    files = {"a.jpg": None, "b.jpg": None, "x.json": content}
    _, images, problems = read_all("createml", put(files))
    assert list(images) == ["a.jpg"]
    assert [(problem.code, problem.file) for problem in problems] == [
        ("line_unreadable", "x.json"),
        ("line_unreadable", "x.json"),
        ("annotation_without_image", "gone.jpg"),
        ("image_without_annotation", "b.jpg"),
    ]


def test_createml_image_that_is_listed_twice_with_other_objects_is_left_out(put, read_all) -> None:
    content = [{"image": name, "annotations": [thing(label)]} for name, label in (("a.jpg", "cat"), ("a.jpg", "dog"))]
    content.append({"image": "b.jpg", "annotations": [thing()]})
    _, images, problems = read_all("createml", put({"a.jpg": None, "b.jpg": None, "x.json": content}))
    assert list(images) == ["b.jpg"]
    assert [(problem.code, problem.file) for problem in problems] == [("annotations_disagree", "a.jpg")]


def test_createml_fractions_are_read_as_such_and_doubt_is_left_out(put, read_all, names_and_boxes) -> None:
    fractions = thing(x=0.5, y=0.5, width=0.5, height=0.25)
    mixed = {"image": "b.jpg", "annotations": [fractions, thing()]}
    content = [{"image": "a.jpg", "annotations": [fractions]}, mixed]
    _, images, problems = read_all("createml", put({"a.jpg": None, "b.jpg": None, "x.json": content}))
    assert list(images) == ["a.jpg"]
    assert names_and_boxes(images["a.jpg"]) == [("cat", (18, 16, 30, 48))]
    assert [(problem.code, problem.file) for problem in problems] == [
        ("coordinates_normalised", "a.jpg"),
        ("coordinates_unclear", "b.jpg"),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([{"image": "gone.jpg", "annotations": []}], r"Of 1 image that .* gone\.jpg: named in x\.json"),
        ('[{"image": "a.jpg", "annotations": []}', r"x\.json: it ends at byte"),
        ({"a": 1}, "found none among 1 JSON files"),
    ],
)
def test_createml_file_of_which_nothing_can_be_used_is_refused(put, read_all, content: Any, words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        read_all("createml", put({"a.jpg": None, "x.json": content}))
