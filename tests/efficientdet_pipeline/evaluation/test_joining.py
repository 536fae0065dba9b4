"""Ground truth and detector are joined by class and file names, never by numbers alone."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.evaluation.joining import check_source_ids, join_classes, join_images, with_classes
from efficientdet_pipeline.evaluation.truth import TruthImage, read_truth_file
from tfrmod.manifest import RecordedImage

NETWORK = {1: "circle", 2: "square", 3: "star", 4: "triangle"}


def joined(truth: dict[int, str], label_map: dict[int, str] = NETWORK, **more: Any) -> dict[int, int]:
    return join_classes(truth, label_map, num_classes=4, source="val.json", **more)


@pytest.mark.parametrize(
    ("truth", "expected"),
    [
        (NETWORK, {1: 1, 2: 2, 3: 3, 4: 4}),
        ({0: "circle", 1: "square", 2: "star", 3: "triangle"}, {0: 1, 1: 2, 2: 3, 3: 4}),
        ({1: "triangle", 2: "star"}, {1: 4, 2: 3}),
        ({901: "Circle", 7: "  square "}, {901: 1, 7: 2}),
        ({5: "cafe\u0301"}, {5: 2}),
    ],
    ids=["same", "from zero", "other order", "other spelling", "other accents"],
)
def test_classes_are_joined_by_name(truth: dict[int, str], expected: dict[int, int]) -> None:
    label_map = {1: "circle", 2: "café"} if expected == {5: 2} else NETWORK
    assert joined(truth, label_map) == expected


@pytest.mark.parametrize(
    ("truth", "named"),
    [
        ({1: "RBC", 2: "WBC"}, "RBC, WBC"),
        ({1: "circle", 5: "person"}, "person"),
        ({5: ""}, "5"),
        ({0: ""}, "0"),
        ({9: "9"}, "9"),
    ],
)
def test_unknown_classes_are_refused(truth: dict[int, str], named: str) -> None:
    with pytest.raises(DataError, match=rf"must be those of the network: circle, square, .*other classes: {named}\."):
        joined(truth)


def test_an_ambiguous_name_is_refused_unless_the_number_decides() -> None:
    twice = {1: "cat", 2: "cat", 3: "dog"}
    assert joined({2: "cat", 9: "dog"}, twice) == {2: 2, 9: 3}
    with pytest.raises(DataError, match="cat"):
        joined({7: "cat"}, twice)


def test_numbers_decide_where_a_side_has_no_names_and_that_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert joined({1: "", 4: ""}) == {1: 1, 4: 4}
        assert "matched by number, since those of val.json have no names: 1, 4" in caplog.text
        assert joined({1: "cat", 3: "dog"}, {1: "1", 2: "2", 3: "3"}) == {1: 1, 3: 3}
        assert "since the network's have no names" in caplog.text
    digits = {1: "0", 2: "1", 3: "2"}
    assert joined({1: "1", 2: "2"}, digits) == {1: 2, 2: 3}
    assert joined({2: ""}, digits) == {2: 2}


def test_names_of_the_data_that_it_learnt_from_count_too() -> None:
    assert joined({1: "circle", 2: "b"}, {1: "a", 2: "b"}, other_names={1: "circle", 2: "square"}) == {1: 1, 2: 2}


def image(source_id: str, file_name: str = "", size: tuple[int, int] = (0, 0), box: Any = (0, 0, 10, 20)) -> TruthImage:
    boxes = np.array([box], float)
    return TruthImage(source_id, boxes, np.array([1]), np.array([False]), np.array([200.0]), file_name, size)


def record(source_id: str, filename: str = "", height: int = 100, width: int = 200) -> RecordedImage:
    return RecordedImage(source_id, filename, height, width)


def test_images_are_joined_by_file_name_whatever_the_numbers_say() -> None:
    truth = [image("2", "a.jpg", box=(1, 1, 2, 2)), image("1", "b.jpg", box=(3, 3, 4, 4)), image("9", "c.jpg")]
    found = join_images(truth, [record("1", "val/a.jpg"), record("2", "val/b.jpg")], source="val.json")
    assert [(each.source_id, each.boxes[0, 0]) for each in found] == [("1", 1.0), ("2", 3.0)]


def test_images_in_two_folders_are_distinguished() -> None:
    truth = [image("1", "x/a.jpg", box=(1, 1, 2, 2)), image("2", "y/a.jpg", box=(3, 3, 4, 4))]
    found = join_images(truth, [record("7", "y/a.jpg"), record("8", "x/a.jpg")], source="val.json")
    assert [each.boxes[0, 0] for each in found] == [3.0, 1.0]
    same = [record("2", "a.jpg"), record("1", "a.jpg")]
    twice = [image("1", "a.jpg", box=(1, 1, 2, 2)), image("2", "a.jpg", box=(3, 3, 4, 4))]
    assert [each.boxes[0, 0] for each in join_images(twice, same, source="val.json")] == [3.0, 1.0]


@pytest.mark.parametrize(
    ("truth", "recorded"),
    [
        ([image("1", "a.jpg")], [record("1", "other.jpg")]),
        ([image("1", "a.jpg"), image("2", "a.jpg")], [record("1", "a.jpg")]),
        ([image("3")], [record("1")]),
    ],
    ids=["same number, other name", "two of one name", "no names, other number"],
)
def test_images_that_cannot_be_joined_are_refused(truth: list[TruthImage], recorded: list[RecordedImage]) -> None:
    with pytest.raises(DataError, match=r"Every evaluated image must be in val\.json\. 1 of 1"):
        join_images(truth, recorded, source="val.json")


def test_without_file_names_numbers_decide_and_that_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        (found,) = join_images([image("1")], [record("1", "a.jpg")], source="val.json")
    assert found.source_id == "1"
    assert "matched by number" in caplog.text


def test_truth_of_another_size_is_scaled_and_of_other_proportions_refused() -> None:
    (found,) = join_images([image("1", "a.jpg", (200, 400))], [record("5", "a.jpg")], source="val.json")
    np.testing.assert_allclose(found.boxes, [[0, 0, 5, 10]])
    np.testing.assert_allclose(found.areas, [50])
    with pytest.raises(DataError, match=r"200x100 pixels in the shards and 100x200 there"):
        join_images([image("1", "a.jpg", (200, 100))], [record("5", "a.jpg")], source="val.json")


def test_with_classes_gives_the_ids_of_the_detector() -> None:
    assert with_classes(image("1"), {1: 4}).class_ids.tolist() == [4]


def test_one_source_id_for_several_images_is_refused() -> None:
    check_source_ids(["1", "2", "", ""], source="shards")
    with pytest.raises(DataError, match=r"3 records share 1 ids, for example '0' \(3 times\)"):
        check_source_ids(["0", "0", "0", "1"], source="shards")


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["annotations"][0].update(category_id=7),
        lambda content: content["annotations"][0].update(bbox=[0, 0, 1]),
        lambda content: content["annotations"].append({**content["annotations"][0], "bbox": [0, 0, 1, 2, 3]}),
        lambda content: content["annotations"][0].update(bbox=[0, 0, float("nan"), 2]),
        lambda content: content["images"].append({"id": 1}),
        lambda content: content.update(images=3),
    ],
)
def test_a_coco_file_that_contradicts_itself_is_refused(change: Any, tmp_path: Path) -> None:
    annotation = {"image_id": 1, "category_id": 0, "bbox": [0, 0, 1, 2]}
    content = {"images": [{"id": 1}], "annotations": [annotation], "categories": [{"id": 0, "name": "cat"}]}
    path = tmp_path / "val.json"
    path.write_text(json.dumps(content), encoding="utf-8-sig")
    assert read_truth_file(path).class_names == {0: "cat"}
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"val\.json must be a COCO file of instances"):
        read_truth_file(path)
