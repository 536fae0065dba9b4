"""COCO metrics, against pycocotools and computed by hand."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.evaluation.coco import METRIC_NAMES, class_names, coco_metrics
from efficientdet_pipeline.evaluation.truth import TruthImage, read_truth
from efficientdet_pipeline.inference.results import ImageDetections

LABELS = {1: "cat", 3: "dog"}
BOX = [10.0, 10.0, 60.0, 60.0]
FAR = [100.0, 100.0, 150.0, 150.0]


def truth(source_id: str, boxes: list[list[float]], class_ids: list[int], **extra: object) -> TruthImage:
    return TruthImage(source_id, np.reshape(boxes, (-1, 4)), np.array(class_ids, int), **extra)


def found(source_id: str, boxes: list[list[float]], class_ids: list[int], scores: list[float]) -> ImageDetections:
    return ImageDetections(
        np.reshape(boxes, (-1, 4)), np.array(scores), np.array(class_ids, float), source_id=source_id
    )


def test_the_twelve_numbers_are_those_of_cocoapi(test_data: Path) -> None:
    folder = test_data / "eval_oracle"
    images = read_truth(folder / "instances_val2014_100.json")
    rows: dict[str, list] = {image.source_id: [] for image in images}
    for row in json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text()):
        x, y, width, height = row["bbox"]
        rows[str(row["image_id"])].append(([y, x, y + height, x + width], row["category_id"], row["score"]))
    detected = [
        found(source_id, [r[0] for r in of], [r[1] for r in of], [r[2] for r in of]) for source_id, of in rows.items()
    ]

    metrics = coco_metrics(images, detected, {})

    expected = json.loads((folder / "expected_bbox_stats.json").read_text())["stats"]
    np.testing.assert_allclose([metrics[name] for name in METRIC_NAMES], expected, rtol=0, atol=1e-6)
    # AP is the mean over the classes with objects.
    measured = [value for value in metrics["per_class"].values() if value >= 0]
    assert np.mean(measured) == pytest.approx(metrics["AP"])
    assert set(metrics["per_class"]) == {str(class_id) for image in images for class_id in image.class_ids}
    # Some scores are equal, so the result depends on the order of images.
    assert coco_metrics(images[::-1], detected[::-1], {}) == metrics


def test_classes_go_by_id_not_by_position() -> None:
    images = [truth("a", [BOX], [3])]
    metrics = coco_metrics(images, [found("a", [BOX], [3], [0.9])], {1: "cat", 2: "cow", 3: "dog", 7: "eel"})
    assert metrics["per_class"] == {"cat": -1, "cow": -1, "dog": pytest.approx(1), "eel": -1}
    assert metrics["AP"] == pytest.approx(1)


def test_images_without_detections_and_without_objects_count() -> None:
    images = [truth("hit", [BOX], [1]), truth("missed", [BOX], [1]), truth("empty", [], [])]
    only_hit = coco_metrics(images, [found("hit", [BOX], [1], [0.5])], LABELS)
    assert only_hit["ARmax100"] == pytest.approx(0.5)

    # A false positive in the empty image with a higher score halves the precision.
    alarmed = coco_metrics(images[::2], [found("hit", [BOX], [1], [0.5]), found("empty", [BOX], [1], [0.9])], LABELS)
    assert alarmed["AP"] == pytest.approx(0.5)


@pytest.mark.parametrize("detected", [[], [found("a", [], [], [])]])
def test_no_detections_are_zeros(detected: list[ImageDetections]) -> None:
    metrics = coco_metrics([truth("a", [BOX], [1])], detected, LABELS)
    assert (metrics["AP"], metrics["ARmax100"], metrics["per_class"]["cat"]) == (0, 0, 0)
    assert (metrics["APl"], metrics["per_class"]["dog"]) == (-1, -1)


def test_nothing_to_find_is_undefined_not_a_crash() -> None:
    metrics = coco_metrics([truth("a", [], [])], [found("a", [BOX], [1], [0.9])], LABELS)
    assert metrics["AP"] == -1
    assert coco_metrics([], [], {})["AP"] == -1


def test_a_crowd_box_is_neither_missed_nor_a_false_alarm() -> None:
    crowded = truth("a", [BOX, FAR], [1, 1], is_crowd=np.array([False, True]))
    metrics = coco_metrics([crowded], [found("a", [FAR, BOX], [1, 1], [0.9, 0.5])], LABELS)
    assert metrics["AP"] == pytest.approx(1)


def test_the_given_area_decides_the_size_class() -> None:
    detected = [found("a", [BOX], [1], [0.9])]
    assert coco_metrics([truth("a", [BOX], [1])], detected, LABELS)["APm"] == pytest.approx(1)
    small = coco_metrics([truth("a", [BOX], [1], areas=np.array([900.0]))], detected, LABELS)
    assert (small["APs"], small["APm"]) == (pytest.approx(1), -1)
    unknown = coco_metrics([truth("a", [BOX], [1], areas=np.array([0.0]))], detected, LABELS)
    assert unknown["APm"] == pytest.approx(1)


def test_ids_beyond_float32_stay_apart() -> None:
    first, second = str(2**24), str(2**24 + 1)
    images = [truth(first, [BOX], [1]), truth(second, [FAR], [1])]
    detected = [found(first, [BOX], [1], [0.9]), found(second, [FAR], [1], [0.8])]
    assert coco_metrics(images, detected, LABELS)["AP"] == pytest.approx(1)


def test_stdout_is_silent_and_given_back(capsys: pytest.CaptureFixture[str]) -> None:
    coco_metrics([truth("a", [BOX], [1])], [], LABELS)
    with contextlib.suppress(ValueError):
        coco_metrics([TruthImage("a", np.zeros((1, 4)), np.array([1, 2]))], [], LABELS)
    print("after")
    assert capsys.readouterr().out == "after\n"


def test_an_image_outside_the_truth_is_refused() -> None:
    with pytest.raises(DataError, match="1 of 1 are not, for example source_id 'b'; known are 'a'"):
        coco_metrics([truth("a", [], [])], [found("b", [], [], [])], LABELS)


@pytest.mark.parametrize("twice", ["ground truth", "detections"])
def test_an_image_that_comes_twice_is_refused(twice: str) -> None:
    images = [truth("a", [], [])] * (1 + (twice == "ground truth"))
    detected = [found("a", [], [], [])] * (1 + (twice == "detections"))
    with pytest.raises(DataError, match=f"In the {twice}, 1 source ids occur more often, for example 'a'"):
        coco_metrics(images, detected, LABELS)


def test_two_classes_of_one_name_keep_their_numbers() -> None:
    assert class_names([1, 2, 5], {1: "cat", 2: "cat"}) == ["cat (1)", "cat (2)", "5"]
