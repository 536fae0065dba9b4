"""Tests of LabelMe's JSON, as written by LabelMe."""

from typing import Any

import pytest

from tfrmod.errors import DatasetError
from tfrmod.masks import png_array
from tfrmod.sources import find_source

BOX = (5.0, 10.0, 25.0, 30.0)
CORNERS = [[10, 5], [30, 25]]


def shape(points: Any = CORNERS, kind: str | None = "rectangle", label: Any = "cat", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}


def labelme(*shapes: Any, path: Any = "a.jpg", data: str | None = None) -> dict[str, Any]:
    content = {"version": "5.0.1", "flags": {}, "shapes": list(shapes), "imagePath": path, "imageData": data}
    return {**content, "imageHeight": 48, "imageWidth": 64}


@pytest.mark.parametrize(
    ("points", "kind", "box"),
    [
        (CORNERS, "rectangle", BOX),
        ([[30, 25], [10, 5]], "rectangle", BOX),
        ([[10, 5], [30, 5], [30, 25], [10, 25]], "rectangle", BOX),
        ([[10, 5], [30, 5], [20, 25]], "polygon", BOX),
        ([[10, 5], [30, 5], [20, 25]], None, BOX),
        ([[20, 15], [20, 25]], "circle", BOX),
        ([[20, 5], [30, 15], [20, 25], [10, 15]], "rotation", BOX),
        (CORNERS, "mask", BOX),
    ],
)
def test_labelme_each_shape_gives_its_bounding_box(put, read_all, names_and_boxes, points, kind, box) -> None:
    folder = put({"images/a.jpg": None, "images/a.json": labelme(shape(points, kind), data="aGFsbG8=")})
    assert find_source(folder) == "labelme"
    _, images, problems = read_all("labelme", folder)
    assert names_and_boxes(images["images/a.jpg"]) == [("cat", pytest.approx(box))]
    assert (images["images/a.jpg"].height, problems) == (48, [])


def test_labelme_polygons_of_one_group_are_one_object(put, read_all, names_and_boxes) -> None:
    left, right = [[0, 5], [5, 5], [5, 25]], [[20, 5], [30, 5], [30, 20]]
    shapes = [shape(points, "polygon", group_id=1) for points in (left, right)]
    shapes += [shape(left, "polygon", "dog", group_id=1), shape(CORNERS, group_id=2), shape(CORNERS, group_id=2)]
    _, images, problems = read_all("labelme", put({"a.jpg": None, "a.json": labelme(*shapes)}), masks=True)
    assert names_and_boxes(images["a.jpg"]) == [
        ("cat", (5, 0, 25, 30)),
        ("dog", (5, 0, 25, 5)),
        *[("cat", BOX)] * 2,
    ]
    mask = png_array(images["a.jpg"].objects[0].mask)
    assert (bool(mask[:, :6].any()), bool(mask[:, 20:31].any()), bool(mask[:, 7:19].any())) == (True, True, False)
    assert problems == []


@pytest.mark.parametrize(
    ("image", "file", "stated"),
    [
        ("images/a.jpg", "images/a.json", "a.jpg"),
        ("images/a.jpg", "labels/a.json", "..\\images\\a.jpg"),
        ("images/a.jpg", "labels/a.json", "C:\\Users\\me\\a.jpg"),
        ("images/b.jpg", "images/b.json", "a.jpg"),
        ("images/b.jpg", "images/b.json", None),
        ("images/b.jpg", "labels/x.json", "b.jpg"),
    ],
)
def test_labelme_image_is_the_one_that_is_named_or_else_that_of_the_same_name(
    put, read_all, image, file, stated
) -> None:
    _, images, problems = read_all("labelme", put({image: None, file: labelme(shape(), path=stated)}))
    assert (list(images), problems) == ([image], [])


def test_labelme_name_that_contradicts_the_files_own_is_in_doubt(put, read_all) -> None:
    files = {"a.jpg": None, "b.jpg": None, "c.jpg": None, "c.json": labelme(shape(), path="c.jpg")}
    _, images, problems = read_all("labelme", put({**files, "b.json": labelme(shape(), path="a.jpg")}))
    assert list(images) == ["c.jpg"]
    assert ("image_ambiguous", "b.json", "names a.jpg; fits a.jpg, b.jpg") in problems


def test_labelme_image_that_is_only_in_the_file_is_named_with_the_way_out(put, read_all) -> None:
    with pytest.raises(DatasetError, match=r"a\.json: names a\.jpg; the file holds a copy .* labelme_export_json"):
        read_all("labelme", put({"a.json": labelme(shape(), data="aGFsbG8=")}))


def test_labelme_two_files_of_one_image_leave_it_out(put, read_all) -> None:
    files = {"a.jpg": None, "b.jpg": None, "b.json": labelme(shape(), path="b.jpg")}
    rivals = {f"{folder}/a.json": labelme(shape()) for folder in "xy"}
    _, images, problems = read_all("labelme", put({**files, **rivals}))
    assert list(images) == ["b.jpg"]
    assert [(problem.code, problem.file) for problem in problems] == [("annotations_disagree", "a.jpg")]


def test_labelme_folders_are_sets(put, read_all) -> None:
    files = {f"{name}/0.jpg": None for name in ("train", "val")}
    files |= {f"{name}/0.json": labelme(shape(), path="0.jpg") for name in ("train", "val")}
    listing, _, _ = read_all("labelme", put(files))
    assert listing.sets == {"train": (0,), "val": (1,)}


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (shape(kind="point"), "no area"),
        (shape(kind="linestrip"), "no area"),
        (shape([[1, 2]]), "with 1 points"),
        (shape([[1, 2], [3, "x"]]), "not a number"),
        (shape([[1, 2], [3]]), "not a pair"),
        (shape("x"), "with 0 points"),
        (shape(label=None), "without a label"),
        (shape(label="a\u202eb"), "cannot be printed"),
        (shape([[1, 2], [3, 4]], "polygon"), "at least three"),
        (shape(kind="star"), "type star"),
        ("x", "not an object"),
    ],
)
def test_labelme_unreadable_shape_is_dropped_and_named(put, read_all, bad: Any, words: str) -> None:
    _, images, problems = read_all("labelme", put({"a.jpg": None, "a.json": labelme(shape(), bad)}))
    assert (len(images["a.jpg"].objects), [problem.code for problem in problems]) == (1, ["object_unreadable"])
    assert words in problems[0].message


def test_labelme_fractions_are_read_as_such(put, read_all, names_and_boxes) -> None:
    content = labelme(shape([[0.25, 0.25], [0.5, 0.75]]))
    _, images, problems = read_all("labelme", put({"a.jpg": None, "a.json": content}))
    assert names_and_boxes(images["a.jpg"]) == [("cat", (12, 16, 36, 32))]
    assert [problem.code for problem in problems] == ["coordinates_normalised"]


def test_labelme_damaged_file_is_named(put, read_all) -> None:
    files = {"a.jpg": None, "a.json": labelme(shape()), "b.jpg": None}
    damaged = '{"imagePath": "b.jpg", "imageHeight": 4, "shapes": 5}'
    _, images, problems = read_all("labelme", put({**files, "b.json": damaged}))
    assert list(images) == ["a.jpg"]
    assert [(problem.code, problem.file) for problem in problems] == [
        ("annotation_malformed", "b.json"),
        ("image_without_annotation", "b.jpg"),
    ]
    with pytest.raises(DatasetError, match="found none among 0 JSON files"):
        read_all("labelme", put({}) / "nothing")
