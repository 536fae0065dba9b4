"""Tests of the recognition of JSON and XML files of many tools, shortened."""

from typing import Any

import pytest

from tfrmod.errors import DatasetError
from tfrmod.sources import coco, find_source
from tfrmod.sources.recognition import UNREAD, json_kind, xml_kind

VOC = "<annotation><object><name>cat</name></object></annotation>"
YOLO = {"images/a.jpg": None, "labels/a.txt": "0 0.5 0.5 0.1 0.1"}
SHAPE = {"label": "cat", "points": [[1, 2], [3, 4]], "shape_type": "rectangle"}
REGION = {"shape_attributes": {"name": "rect"}, "region_attributes": {}}
JSON: list[tuple[str, Any]] = [
    ("coco", {"images": [{"id": 1, "file_name": "a.jpg"}]}),
    ("coco", {"info": {}, "licenses": [{"id": 1}], "categories": [{"id": 1}], "annotations": [{"image_id": 1}]}),
    ("coco", '{"info": {}, "images": [{"id" 1'),
    ("labelme", {"version": "5.0", "flags": {}, "shapes": [SHAPE], "imagePath": "a.jpg"}),
    ("labelme", {"shapes": [], "imagePath": "a.jpg", "imageData": None}),
    ("via", {"_via_settings": {}, "_via_img_metadata": {}}),
    ("via", {"a.jpg123": {"filename": "a.jpg", "size": 123, "regions": [REGION], "file_attributes": {}}}),
    ("createml", [{"image": "a.jpg", "annotations": [{"label": "cat", "coordinates": {"x": 1}}]}]),
    ("labelstudio", [{"id": 1, "annotations": [{"result": []}], "data": {"image": "a.jpg"}}]),
    ("labelstudio", [{"image": "a.jpg", "id": 1, "label": [], "annotator": 1, "annotation_id": 2}]),
    ("supervisely", {"description": "", "tags": [], "size": {"height": 1, "width": 1}, "objects": []}),
    ("supervisely", {"classes": [{"title": "cat", "shape": "rectangle"}], "tags": []}),
    ("datumaro", {"info": {}, "categories": {"label": {"labels": []}}, "items": [{"id": "a", "annotations": []}]}),
    ("via3", {"project": {"pid": "x", "data_format_version": "3.1.1"}, "config": {}, "metadata": {}}),
    ("darwin", {"version": "2.0", "item": {"name": "a", "slots": []}, "annotations": []}),
    ("vott", {"asset": {"id": "1", "path": "a.jpg"}, "regions": [], "version": "2.2.0"}),
    ("superannotate", {"metadata": {"name": "a.jpg", "lastAction": {}}, "instances": []}),
    ("labelbox", [{"data_row": {"id": "x"}, "projects": {}}]),
    ("bdd100k", [{"name": "a.jpg", "labels": [{"category": "car", "box2d": {}}]}]),
    ("", {"categories": [{"id": 0, "name": "bird"}], "info": {"year": 2024}}),
    ("", {"images": 3, "annotations": "none"}),
    ("", [1, 2]),
    ("", []),
    ("", "no JSON"),
    ("", ""),
]


@pytest.mark.parametrize(("kind", "content"), JSON)
def test_recognition_json_is_recognised_by_its_structure(put, kind: str, content: Any) -> None:
    assert json_kind(put({"x.json": content}) / "x.json") == kind


def test_recognition_each_unread_export_is_recognised() -> None:
    assert {kind for kind, _ in JSON} >= UNREAD.keys() - {"cvat_video"}


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("voc", VOC),
        ("voc", "\ufeff<?xml version='1.0'?>\n<!-- <a> --><!DOCTYPE annotation>\n<v:annotation xmlns:v='u'>"),
        ("voc", VOC.encode("utf-16")),
        ("voc", '<annotation verified="yes">'),
        ("cvat", "<annotations><version>1.1</version><meta/><image id='0'/></annotations>"),
        ("cvat_video", "<annotations><version>1.1</version><meta/><track id='0'></track></annotations>"),
        ("", "<PAMDataset/>"),
        ("", "<annotationset/>"),
        ("", "<!-- <annotation>"),
        ("", ""),
        ("", b"\0\1\2"),
    ],
)
def test_recognition_xml_is_recognised_by_its_outermost_tag(put, kind: str, content: str | bytes) -> None:
    assert xml_kind(put({"x.xml": content}) / "x.xml") == kind


@pytest.mark.parametrize(
    "stray",
    [
        {"notes.json": {"categories": [{"id": 0, "name": "cat"}], "info": {}}},
        {"meta.json": {"categories": {"label": {}}, "items": [{"id": "a", "annotations": [{"id": 0}]}]}},
        {"images/a.jpg.aux.xml": "<PAMDataset/>"},
        {"pom.xml": "<project/>", "package.json": {"name": "x"}},
    ],
)
@pytest.mark.parametrize("kind", ["voc", "coco", "yolo"])
def test_recognition_stray_files_make_no_second_kind(put, kind: str, stray: dict[str, Any]) -> None:
    files: dict[str, Any] = {
        "voc": {"images/a.jpg": None, "a.xml": VOC},
        "coco": {"images/a.jpg": None, "x.json": {"images": [{"id": 1, "file_name": "a.jpg"}]}},
        "yolo": YOLO,
    }[kind]
    assert find_source(put(files | stray)) == kind


def test_recognition_xml_about_something_else_is_no_annotation_that_lost_its_image(put, read_all) -> None:
    files = {"a.jpg": None, "a.xml": VOC, "gone.xml": VOC, "a.jpg.aux.xml": "<PAMDataset/>", "b.xml": "damaged"}
    _, images, problems = read_all("voc", put(files))
    assert list(images) == ["a.jpg"]
    assert {problem.file for problem in problems if problem.code == "annotation_without_image"} == {"gone.xml", "b.xml"}


@pytest.mark.parametrize(("kind", "content"), [pair for pair in JSON if pair[0] in UNREAD])
def test_recognition_export_that_is_not_read_is_named_with_what_to_export(put, kind: str, content: Any) -> None:
    folder = put({"a.jpg": None, "sub/x.json": content})
    with pytest.raises(DatasetError) as caught:
        find_source(folder)
    assert f"sub/x.json is {UNREAD[kind].title}, which is not read here. {UNREAD[kind].advice}" in str(caught.value)
    with pytest.raises(DatasetError, match=r"found none among 1 JSON files\. sub/x\.json is"):
        coco.listing(folder)


def test_recognition_many_files_of_one_export_are_one_sentence(put) -> None:
    content = {"description": "", "size": {"height": 1, "width": 1}}
    with pytest.raises(DatasetError, match=r"a\.json and 2 more are Supervisely's own JSON"):
        find_source(put({f"{name}.json": content for name in "abc"}))
