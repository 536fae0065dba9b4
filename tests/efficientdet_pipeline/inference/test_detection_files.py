"""Files of detections: JSON and COCO's list of results."""

import json
from pathlib import Path

import numpy as np
import pytest

from efficientdet_pipeline.inference.detection_files import (
    RecordSpool,
    coco_results,
    write_coco_results,
    write_detections_json,
)
from efficientdet_pipeline.inference.results import ImageDetections, image_record

FOUND = ImageDetections(
    np.array([[1.0, 2.0, 3.0004, 4.0], [5.0, 6.0, 7.0, 8.0]]), np.array([0.9, 0.3]), np.array([2, 7])
)


def test_detection_files_file_lists_images_and_their_detections(tmp_path: Path) -> None:
    path = tmp_path / "out" / "detections.json"
    records = [
        image_record("foto ü.jpg", (480, 640), FOUND, {2: "Kätzchen"}),
        image_record(Path("empty.jpg"), (1, 1), FOUND.above(1), {}),
    ]
    write_detections_json(path, records)

    assert "Kätzchen" in path.read_text(encoding="utf-8")
    first, second = json.loads(path.read_text(encoding="utf-8"))
    assert (first["image"], first["width"], first["height"]) == ("foto ü.jpg", 640, 480)
    assert first["detections"] == [
        {"class_id": 2, "class_name": "Kätzchen", "score": 0.9, "box": {"y0": 1.0, "x0": 2.0, "y1": 3.0, "x1": 4.0}},
        {"class_id": 7, "class_name": "7", "score": 0.3, "box": {"y0": 5.0, "x0": 6.0, "y1": 7.0, "x1": 8.0}},
    ]
    assert second == {"image": "empty.jpg", "width": 1, "height": 1, "detections": []}


def test_record_spool_gives_what_was_added_as_often_as_needed(tmp_path: Path) -> None:
    records = [image_record("a\u2028ü.jpg", (4, 5), FOUND, {2: "Kätzchen"}), image_record("b.jpg", (4, 5), FOUND, {})]
    spool = RecordSpool()
    for record in records:
        spool.add(record)
    assert list(spool) == list(spool) == records
    for name, content in (("some.json", records), ("none.json", [])):
        write_detections_json(tmp_path / name, spool if content else RecordSpool())
        expected = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        assert (tmp_path / name).read_text(encoding="utf-8") == expected


def test_detection_files_coco_results_are_what_pycocotools_reads(tmp_path: Path) -> None:
    records = [
        image_record("val/000000397133.jpg", (480, 640), FOUND, {}),
        image_record("val/cat_1.jpg", (480, 640), FOUND.above(0.5), {}),
    ]
    write_coco_results(tmp_path / "detections_coco.json", records)
    first, second, third = json.loads((tmp_path / "detections_coco.json").read_text())
    assert first == {
        "image_id": 397133,
        "file_name": "val/000000397133.jpg",
        "category_id": 2,
        "bbox": [2.0, 1.0, 2.0, 2.0],
        "score": 0.9,
    }
    assert (second["image_id"], third["image_id"]) == (397133, "cat_1")


@pytest.mark.parametrize("names", [("a/7.jpg", "b/7.jpg"), ("7.jpg", "007.png")])
def test_detection_files_coco_results_never_give_two_images_one_id(names: tuple[str, str]) -> None:
    records = [image_record(name, (9, 9), FOUND.above(0.5), {}) for name in (*names, "8.jpg")]
    assert [each["image_id"] for each in coco_results(records)] == [*names, 8]
