"""Tests of VIA's projects, annotations and tables, as written by versions 1 and 2."""

import csv
import io
import json
from typing import Any

import pytest

from tfrmod.errors import DatasetError
from tfrmod.masks import png_array
from tfrmod.sources import find_source

RECT = {"name": "rect", "x": 10, "y": 5, "width": 20, "height": 20}
BOX = (5.0, 10.0, 25.0, 30.0)
HEADER = ["filename", "file_size", "file_attributes", "region_count", "region_id"]
HEADER += ["region_shape_attributes", "region_attributes"]


def region(shape: Any = RECT, **attributes: Any) -> dict[str, Any]:
    return {"shape_attributes": shape, "region_attributes": attributes or {"class": "cat"}}


def via(*regions: Any, name: str = "a.jpg") -> dict[str, Any]:
    return {f"{name}123": {"filename": name, "size": 123, "regions": list(regions), "file_attributes": {}}}


def project(images: dict[str, Any], attributes: Any = None) -> dict[str, Any]:
    return {
        "_via_settings": {"ui": {}},
        "_via_img_metadata": images,
        "_via_attributes": {"region": attributes or {}, "file": {}},
        "_via_data_format_version": "2.0.10",
    }


def table(*rows: tuple[str, Any, Any], header: str = "") -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(HEADER)
    for name, shape, attributes in rows:
        writer.writerow([name, 123, "{}", 1, 0, json.dumps(shape), json.dumps(attributes)])
    return header + out.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        via(region()),
        project(via(region())),
        {"a": {"filename": "a.jpg", "regions": {"0": region()}, "fileref": "", "base64_img_data": ""}},
    ],
)
def test_via_each_version_of_the_json_says_the_same(put, read_all, names_and_boxes, content: Any) -> None:
    folder = put({"images/a.jpg": None, "via.json": content})
    assert find_source(folder) == "via"
    _, images, problems = read_all("via", folder)
    assert (names_and_boxes(images["images/a.jpg"]), problems) == ([("cat", BOX)], [])


@pytest.mark.parametrize("header", ["", "#", "\ufeff"])
def test_via_table_says_the_same(put, read_all, names_and_boxes, header: str) -> None:
    rows = [("a.jpg", RECT, {"class": "cat"}), ("a.jpg", RECT, {"class": "dog"}), ("b.jpg", {}, {})]
    folder = put({"a.jpg": None, "b.jpg": None, "via.csv": table(*rows, header=header)})
    assert find_source(folder) == "via"
    _, images, problems = read_all("via", folder)
    assert names_and_boxes(images["a.jpg"]) == [("cat", BOX), ("dog", BOX)]
    assert images["b.jpg"].objects == ()
    assert [(problem.code, problem.file) for problem in problems] == [("image_unlabelled", "b.jpg")]


def test_via_table_with_long_outlines_is_read_and_the_limit_of_other_tables_stays(put, read_all) -> None:
    points = [10 + number / 100_000 for number in range(30_000)]
    shape = {"name": "polygon", "all_points_x": points, "all_points_y": points}
    limit = csv.field_size_limit()
    _, images, problems = read_all("via", put({"a.jpg": None, "via.csv": table(("a.jpg", shape, {"class": "cat"}))}))
    assert (len(images["a.jpg"].objects), problems, csv.field_size_limit()) == (1, [], limit)


def test_via_table_beside_the_json_is_the_same_export(put, read_all) -> None:
    folder = put({"a.jpg": None, "via.json": via(region()), "via.csv": table(("a.jpg", RECT, {"class": "dog"}))})
    _, images, _ = read_all("via", folder)
    assert [one.name for one in images["a.jpg"].objects] == ["cat"]


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ({"name": "circle", "cx": 20, "cy": 15, "r": 10}, BOX),
        ({"name": "ellipse", "cx": 20, "cy": 15, "rx": 10, "ry": 5}, (10, 10, 20, 30)),
        ({"name": "ellipse", "cx": 20, "cy": 15, "rx": 10, "ry": 5, "theta": 1.5707963267948966}, (5, 15, 25, 25)),
        ({"name": "polygon", "all_points_x": [10, 30, 20], "all_points_y": [5, 5, 25]}, BOX),
    ],
)
def test_via_each_shape_gives_its_bounding_box(put, read_all, names_and_boxes, shape, box) -> None:
    _, images, problems = read_all("via", put({"a.jpg": None, "via.json": via(region(shape))}), masks=True)
    assert (names_and_boxes(images["a.jpg"]), problems) == ([("cat", pytest.approx(box))], [])
    mask = images["a.jpg"].objects[0].mask
    assert bool(mask) == (shape["name"] == "polygon")
    assert not mask or png_array(mask).shape == (48, 64)


@pytest.mark.parametrize(
    ("attributes", "name", "codes"),
    [
        ({"type": "cat"}, "cat", []),
        ({"Class": "cat", "occluded": "no"}, "cat", ["attributes_left_out"]),
        ({"class": "cat", "note": ""}, "cat", []),
        ({"class": {"cat": True}}, "cat", []),
        ({"class": {"cat": True, "dog": False}}, "cat", []),
        ({"class": 7}, "7", []),
    ],
)
def test_via_attribute_that_is_the_class(put, read_all, attributes: Any, name: str, codes: list[str]) -> None:
    _, images, problems = read_all("via", put({"a.jpg": None, "via.json": via(region(**attributes))}))
    assert [one.name for one in images["a.jpg"].objects] == [name]
    assert [problem.code for problem in problems] == codes


def test_via_numbered_options_stand_for_their_descriptions(put, read_all) -> None:
    attributes = {"class": {"type": "dropdown", "options": {"1": "cat", "2": "dog"}}}
    content = project(via(region(**{"class": "2"})), attributes)
    _, images, _ = read_all("via", put({"a.jpg": None, "via.json": content}))
    assert [one.name for one in images["a.jpg"].objects] == ["dog"]


@pytest.mark.parametrize(
    ("regions", "words"),
    [
        ([region(color="red", kind="cat")], "attributes color, kind, and it cannot be determined"),
        ([region(**{"class": "a"}), region(label="b")], "attributes class, label, and it cannot be determined"),
        ([{"shape_attributes": RECT, "region_attributes": {}}], "none has a class"),
        ([], "none has a class"),
    ],
)
def test_via_class_that_cannot_be_told_is_refused(put, read_all, regions: list[Any], words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        read_all("via", put({"a.jpg": None, "via.json": via(*regions)}))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (region({"name": "polyline", "all_points_x": [1, 2], "all_points_y": [1, 2]}), "a polyline, which has no area"),
        (region({"name": "point", "cx": 1, "cy": 2}), "a point, which has no area"),
        (region({"name": "rect", "x": 1}), "not a number: None"),
        (region({"name": "polygon", "all_points_x": [1, 2, 3], "all_points_y": [1]}), "not lists of equal length"),
        (region({}), "without a shape"),
        (region(RECT, **{"class": ""}), "without a value of class"),
        (region(RECT, **{"class": {"cat": True, "dog": True}}), "2 values of class are ticked"),
        (region(RECT, **{"class": "a\x9bb"}), "cannot be printed"),
        (5, "without a shape"),
    ],
)
def test_via_unreadable_region_is_dropped_and_named(put, read_all, bad: Any, words: str) -> None:
    _, images, problems = read_all("via", put({"a.jpg": None, "via.json": via(region(), bad)}))
    assert (len(images["a.jpg"].objects), [problem.code for problem in problems]) == (1, ["object_unreadable"])
    assert words in problems[0].message


def test_via_damaged_file_beside_a_good_one_is_named(put, read_all) -> None:
    files = {"a.jpg": None, "b.jpg": None, "x.json": via(region()), "y.json": {"b": {"filename": 5, "regions": []}}}
    _, images, problems = read_all("via", put(files))
    assert list(images) == ["a.jpg"]
    assert [(problem.code, problem.file) for problem in problems] == [
        ("annotation_malformed", "y.json"),
        ("image_without_annotation", "b.jpg"),
    ]
    with pytest.raises(DatasetError, match="found none among 0 JSON and 0 CSV files"):
        read_all("via", put({}) / "nothing")
