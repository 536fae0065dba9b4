"""Ground truth and detections, image by image."""

import json
from pathlib import Path

import numpy as np
import pytest
from efficientdet.types import Detections

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.evaluation.truth import detected_images, image_key, read_truth

LARGE_ID = 2**24 + 1
"""The first whole number that float32 cannot hold."""


@pytest.mark.parametrize("source_id", [b"42", 42, "42", np.int64(42)])
def test_bytes_numbers_and_strings_name_one_image(source_id: object) -> None:
    assert image_key(source_id) == "42"


def test_padding_rows_and_padding_images_are_left_out() -> None:
    batch = Detections(
        boxes=np.arange(3 * 4 * 4, dtype=np.float32).reshape(3, 4, 4),
        scores=np.full((3, 4), 0.5, np.float32),
        class_ids=np.ones((3, 4), np.float32),
        num_valid=np.array([2, 0, 4], np.int32),
    )
    images = detected_images([b"a", b"b"], batch)
    assert [image.source_id for image in images] == ["a", "b"]
    assert [len(image.boxes) for image in images] == [2, 0]
    np.testing.assert_array_equal(images[0].boxes, batch.boxes[0, :2])


def test_a_coco_file_gives_every_image_with_its_own_ids(tmp_path: Path) -> None:
    path = tmp_path / "val.json"
    annotation = {"id": 0, "image_id": LARGE_ID, "category_id": 90, "bbox": [10, 20, 30, 40], "area": 600, "iscrowd": 1}
    path.write_text(json.dumps({"images": [{"id": LARGE_ID}, {"id": "second"}], "annotations": [annotation]}))

    with_box, empty = read_truth(path)

    assert with_box.source_id == str(LARGE_ID)
    np.testing.assert_array_equal(with_box.boxes, [[20, 10, 60, 40]])
    assert (with_box.class_ids.tolist(), with_box.is_crowd.tolist(), with_box.areas.tolist()) == ([90], [True], [600])
    assert (empty.source_id, empty.boxes.shape, empty.class_ids.shape) == ("second", (0, 4), (0,))


@pytest.mark.parametrize(
    "content",
    [
        "not json",
        "[]",
        '{"images": []}',
        '{"images": [{"id": 1}], "annotations": [{"image_id": 2, "category_id": 1, "bbox": [0, 0, 1, 1]}]}',
        '{"images": [{"id": 1}], "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1]}]}',
    ],
)
def test_a_file_that_is_not_coco_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "val.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"val\.json must be a COCO file of instances"):
        read_truth(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"val\.json"):
        read_truth(tmp_path / "val.json")
