import json
from pathlib import Path
from typing import Any

import pytest
from absl import logging

from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.options.label_map import MAX_CLASS_ID, read_label_aliases, read_label_map

SOURCE = "--label_map"
PBTXT = """# classes
item {
  id: 1
  name: 'cat'
  display_name: "a cat"  # shown
  keypoints { id: 3 label: "nose" }
}
item: { name: "/m/0bt9lr" id: 7 display_name: "dog" }
item < id: 9, name: "\\344\\270\\255" >
"""


def from_file(folder: Path, name: str, content: str | bytes) -> dict[int, str] | None:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_label_map(str(path), source=SOURCE)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("map.yaml", "label_map:\n  3: bird\n  7: dog\n", {3: "bird", 7: "dog"}),
        ("map.yml", "1: no\n2: yes\n3: off\n4: 010\n5: 12:30\n", {1: "no", 2: "yes", 3: "off", 4: "010", 5: "12:30"}),
        ("map.yaml", "no: 1\nyes: 2\n", {1: "no", 2: "yes"}),
        ("map.yaml", "- no\n- 007\n", {1: "no", 2: "007"}),
        ("map.yaml", "- {id: 3, name: off}\n- {id: 4, name: '1'}\n", {3: "off", 4: "1"}),
        ("map.yaml", "0: background\n1: cat\n", {1: "cat"}),
        ("map.yaml", "label_map: voc\n", None),
        ("map.yaml", "1: 0\n2: 1\n", {1: "0", 2: "1"}),
        ("MAP.YAML", "1: cat\n", {1: "cat"}),
        ("map.json", '{"cat": 1, "dog": 2}', {1: "cat", 2: "dog"}),
        ("map.json", '{"1": "cat",\n\t"2": "d\\u00f8g"}', {1: "cat", 2: "døg"}),
        ("map.json", '["cat", "dog"]', {1: "cat", 2: "dog"}),
        ("coco.json", '{"images": [], "categories": [{"id": 5, "name": "cat", "supercategory": ""}]}', {5: "cat"}),
        ("names.txt", "cat\r\n dog \r\n\r\n\r\n", {1: "cat", 2: "dog"}),
        ("obj.names", "no\nyes", {1: "no", 2: "yes"}),
        ("names.txt", "\ufeff汽车\n行人\n", {1: "汽车", 2: "行人"}),
        ("names.txt", "汽车\n行人\n".encode("utf-16"), {1: "汽车", 2: "行人"}),
        ("names.txt", "0\n1\n2\n", {1: "0", 2: "1", 3: "2"}),
        ("map.pbtxt", PBTXT, {1: "cat", 7: "dog", 9: "中"}),
        ("map.txt", PBTXT, {1: "cat", 7: "dog", 9: "中"}),
    ],
)
def test_a_label_map_is_read_from_every_kind_of_file(
    tmp_path: Path, name: str, content: str | bytes, expected: dict[int, str] | None
) -> None:
    assert from_file(tmp_path, name, content) == (expected or read_label_map("voc", source=SOURCE))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", None),
        (None, None),
        ({}, None),
        ("cat", {1: "cat"}),
        ("cat, dog", {1: "cat", 2: "dog"}),
        ("no,12:30", {1: "no", 2: "12:30"}),
        ("{1:cat,2:dog}", {1: "cat", 2: "dog"}),
        ("{3: 'a, b', 1:'no'}", {1: "no", 3: "a, b"}),
        ("{cat:1,dog:2}", {1: "cat", 2: "dog"}),
        ("[cat,no]", {1: "cat", 2: "no"}),
        ({1: "cat", "2": 7}, {1: "cat", 2: "7"}),
        (["cat", "dog"], {1: "cat", 2: "dog"}),
        ({"cat": 1}, {1: "cat"}),
        ("waymo", {1: "vehicle", 2: "pedestrian", 3: "cyclist"}),
    ],
)
def test_a_label_map_is_read_from_words_and_values(given: Any, expected: dict[int, str] | None) -> None:
    assert read_label_map(given, source=SOURCE) == expected


def test_the_words_of_automl_name_their_label_maps() -> None:
    coco, voc = read_label_map("coco", source=SOURCE), read_label_map("voc", source=SOURCE)
    assert coco is not None
    assert voc is not None
    assert (len(coco), coco[1], coco[13], coco[90]) == (80, "person", "stop sign", "toothbrush")
    assert (len(set(voc.values())), voc[1], voc[17], voc[20]) == (20, "aeroplane", "sheep", "tvmonitor")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("map.yaml", "{a: b}\n", "neither 'a' nor 'b' is an id"),
        ("map.yaml", "1: cat\ntwo: dog\n", "neither 'two' nor 'dog' is an id"),
        ("map.yaml", "1.5: cat\n", "neither '1.5' nor 'cat' is an id"),
        ("map.yaml", "1: cat\ndog: 2\n", "partly before and partly after"),
        ("map.yaml", "a: [\n", "not a YAML of plain values"),
        ("map.yaml", "", "it contains nothing"),
        ("map.yaml", "label_map: 3\n", "it contains plain text"),
        ("map.yaml", "[" * 5000, "nested more than"),
        ("map.yaml", "a: &a [x]\n1: *a\n", "aliases"),
        ("map.yaml", "1: cat\n1: dog\n", "the key '1' occurs twice"),
        ("map.yaml", "1: cat\n01: dog\n", "the id 1 to 'cat' and to 'dog'"),
        ("map.yaml", "1: cat\n2: cat\n", "'cat' the ids 1 and 2"),
        ("map.yaml", "1: [cat]\n", "but an id or a name is expected"),
        ("map.yaml", "1: ''\n", "an empty name"),
        ("map.yaml", "0: cat\n1: dog\n", "the id 0, which is the background's; class ids start at 1"),
        ("map.yaml", "-1: cat\n", "integers from 1"),
        ("map.yaml", f"{MAX_CLASS_ID + 1}: cat\n", "integers from 1 to 100,000"),
        ("map.yaml", "1: 2\n2: 3\n3: 1\n", "either may be the ids"),
        ("map.yaml", "0: 1\n1: 2\n", "either may be the ids"),
        ("data.yaml", "train: images\nnc: 2\nnames: [cat, dog]\n", "data.yaml of YOLO"),
        ("map.json", "{", "Expecting property name"),
        ("map.json", '{"cat": 1, "cat": 2}', "the key 'cat' occurs twice"),
        ("map.json", '{"cat": true}', "True is a boolean"),
        ("map.json", "[" * 100_000, "it is nested too deeply"),
        ("map.json", '{"1": "\\ud800"}', "cannot be printed"),
        ("names.txt", "cat\n\ndog\n", "line 2 is blank"),
        ("names.txt", "1 cat\n2 dog\n", "its lines start with numbers"),
        ("names.txt", "0: cat\n1: dog\n", "its lines start with numbers"),
        ("names.txt", "background\ncat\n", "the first name is 'background'"),
        ("names.txt", "汽车\n行人\n".encode("gbk"), "it is not UTF-8"),
        ("names.txt", "cat\ncat\n", "'cat' the ids 1 and 2"),
        ("names.txt", b"\x89PNG\r\n\x1a\n\0\0", "it is not text|not UTF-8"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\ncat:1,2,3::\n", "which is not a class name"),
        ("map.txt", "<annotation/>", "which is not a class name"),
        ("names.txt", "a" * ((1 << 20) + 1), "more than 1 MiB"),
        ("map.pbtxt", "item { id: 1", "not a TensorFlow label map"),
        ("map.pbtxt", "item { id: 0 name: 'cat' }", "the id 0"),
        ("map.pbtxt", "item { name: 'cat' }", "has no id"),
        ("map.pbtxt", "item { id: 1 name: 'cat' } item { id: 1 name: 'dog' }", "the id 1"),
        ("map.pbtxt", "", "has no classes"),
        ("map.xml", "<a/>", "files of type .xml are not supported"),
        ("weights", "cat", r"files of type \(no extension\)"),
    ],
)
def test_a_file_that_is_no_label_map_is_refused(tmp_path: Path, name: str, content: str | bytes, reason: str) -> None:
    with pytest.raises(OptionsError, match=reason) as caught:
        from_file(tmp_path, name, content)
    assert caught.value.option == "label_map"
    assert "--label_map must be a label map: a YAML or JSON file" in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        "1:cat,2:dog",
        "1=cat,2=dog",
        "cat,,dog",
        "cat,cat",
        "{1:cat",
        "{1:}",
        "{1}",
        {1: True},
        {1: None},
        {1.0: "cat"},
        5,
    ],
)
def test_values_that_are_no_label_map_are_refused(given: Any) -> None:
    with pytest.raises(OptionsError, match="label_map of --hparams must be a label map") as caught:
        read_label_map(given, source="label_map of --hparams")
    assert caught.value.option is None


def test_a_guessed_encoding_is_stated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: warnings.append(text % values))
    assert from_file(tmp_path, "names.txt", "größer\nkleiner\n".encode("cp1252")) == {1: "größer", 2: "kleiner"}
    assert len(warnings) == 1
    assert "is not UTF-8; its class names were read as cp1252" in warnings[0]


def test_a_bomb_of_a_json_takes_no_time(tmp_path: Path) -> None:
    content = json.dumps({f"c{number}": number for number in range(1, 40_000)})
    found = from_file(tmp_path, "map.json", content)
    assert found is not None
    assert len(found) == 39_999


@pytest.mark.parametrize("name", ["names.txt", "obj.names", "map.yaml", "map.pbtxt", "map.xyz"])
def test_a_file_that_is_not_there_is_no_class(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingError, match=f"label_map names a file that does not exist: '.*{name}'"):
        read_label_map(str(tmp_path / name), source=SOURCE)


def test_aliases_are_pairs_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "aliases.yaml").write_text("redcell: RBC\n'7': seven\nnein: no\n")
    assert read_label_aliases("") is None
    assert read_label_aliases("redcell=RBC, rbc = RBC") == {"redcell": "RBC", "rbc": "RBC"}
    assert read_label_aliases(str(tmp_path / "aliases.yaml")) == {"redcell": "RBC", "7": "seven", "nein": "no"}


@pytest.mark.parametrize("given", ["redcell", "redcell=", "=RBC", "a=b,,c=d", "a=b,a=c"])
def test_aliases_without_a_name_are_refused(given: str) -> None:
    with pytest.raises(OptionsError, match="pairs variant=name") as caught:
        read_label_aliases(given)
    assert caught.value.option == "label_aliases"


@pytest.mark.parametrize("content", ["- a\n", "", "a: [b]\n", "a: ''\n", "a: b\na: c\n", "{"])
def test_a_file_that_holds_no_aliases_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "aliases.yaml").write_text(content)
    with pytest.raises(OptionsError, match="label_aliases must be pairs variant=name, or a YAML file"):
        read_label_aliases(str(tmp_path / "aliases.yaml"))


def test_a_file_of_aliases_that_is_not_there_is_missing() -> None:
    with pytest.raises(MissingError, match="label_aliases names a file that does not exist"):
        read_label_aliases("nowhere.yaml")
