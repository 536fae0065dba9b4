"""Detections in COCO's result format."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from efficientdet_pipeline.errors import DataError, OptionsError
from efficientdet_pipeline.evaluation.detections_evaluation import evaluate_detections
from efficientdet_pipeline.evaluation.detections_file import submission_name, write_submission
from efficientdet_pipeline.evaluation.metrics import Metrics, detection_metrics
from efficientdet_pipeline.inference.results import ImageDetections

TRUTH = {
    "images": [{"id": 1, "width": 100, "height": 80}, {"id": 2, "width": 100, "height": 80}],
    "categories": [{"id": 1, "name": "cat"}, {"id": 5, "name": "<i>dog"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 5, "bbox": [10, 20, 30, 40], "area": 1200}],
}
ROW = {"image_id": 1, "category_id": 5, "bbox": [10, 20, 30, 40], "score": 0.9}


class Evaluated(NamedTuple):
    metrics: Metrics
    warnings: Sequence[str]


def evaluate_file(detections: Path, truth: Path) -> Evaluated:
    found = evaluate_detections(detections, json_file=str(truth))
    return Evaluated(detection_metrics(*found.detected, found.label_map), found.warnings)


@pytest.fixture
def evaluate(tmp_path: Path):
    """Returns a function that evaluates rows against the ground truth."""

    def run(rows: Any, truth: Any = TRUTH):
        (tmp_path / "found.json").write_text(rows if isinstance(rows, str) else json.dumps(rows))
        (tmp_path / "truth.json").write_text(json.dumps(truth))
        return evaluate_file(tmp_path / "found.json", tmp_path / "truth.json")

    return run


def test_evaluate_file_gives_the_numbers(evaluate: Any) -> None:
    result = evaluate([ROW])
    assert result.metrics.values["AP"] == pytest.approx(1)
    assert result.metrics.per_class["AP50"] == {"cat": -1, "<i>dog": pytest.approx(1)}
    assert result.warnings == ["1 of 2 images have no detection; their objects count as missed."]


def test_evaluate_file_reproduces_the_oracle(test_data: Path) -> None:
    folder = test_data / "eval_oracle"
    result = evaluate_file(folder / "instances_val2014_fakebbox100_results.json", folder / "instances_val2014_100.json")
    expected = json.loads((folder / "expected_bbox_stats.json").read_text())["stats"]
    values = list(result.metrics.values.values())[:12]
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{**ROW, "image_id": 7}], "image_id '7', which is not among its 2 images"),
        ([{**ROW, "category_id": 2}], "category_id 2, which is not among its 2 classes"),
        ([{**ROW, "score": 1.5}], "Scores .* must be 0 to 1. Row 0 has 1.5"),
        ([{**ROW, "score": -0.1}], "Row 0 has -0.1"),
        ([ROW, {**ROW, "score": float("nan")}], "must be finite. Row 1 has"),
        ([{**ROW, "bbox": [0, 0, float("inf"), 1]}], "must be finite"),
        ([{**ROW, "bbox": [10, 20, -30, 40]}], "negative side; are they corners"),
        ([{**ROW, "bbox": [0.1, 0.2, 0.3, 0.4]}], "fractions of the image size"),
        ([{**ROW, "bbox": [300, 20, 3, 4]}], "1 of 1 lie outside"),
        ([{**ROW, "bbox": [1, 2, 3]}], "bbox does not have four numbers"),
        ([{"image_id": 1}], "must have image_id, category_id, bbox"),
        (TRUTH, "is a COCO file of ground truth; are the two files swapped"),
        ({"a": 1}, "must be a list of detections"),
        ([3], "must be a list of detections"),
        ("{", "must be JSON"),
    ],
)
def test_evaluate_file_names_what_is_wrong(rows: Any, message: str, evaluate: Any) -> None:
    with pytest.raises(DataError, match=message):
        evaluate(rows)


def test_evaluate_file_names_what_is_odd(evaluate: Any) -> None:
    result = evaluate([ROW, ROW, {**ROW, "bbox": [-9, 20, 30, 40]}])
    assert "1 of 3 boxes exceed their image" in result.warnings[0]
    assert "1 of 3 detections are duplicates" in result.warnings[1]
    many = evaluate([{**ROW, "score": number / 200} for number in range(101)])
    assert "More than 100 detections of a class" in many.warnings[0]
    nothing = evaluate([])
    assert "holds no detections" in nothing.warnings[0]
    assert nothing.metrics.values["AP"] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": []}, "2 images have none"),
        ({"images": [], "annotations": []}, "It lists none"),
        ({"annotations": [{"image_id": 1, "category_id": 1, "bbox": [5, 5, -1, 1]}]}, "width and height of 0 or more"),
        ({"images": [{"id": 1}, {"id": 1}]}, "two images share an id"),
    ],
)
def test_evaluate_file_refuses_no_ground_truth(change: dict, message: str, evaluate: Any) -> None:
    with pytest.raises(DataError, match=message):
        evaluate([ROW], {**TRUTH, **change})


def test_write_submission_has_cocos_name_and_format(tmp_path: Path) -> None:
    found = ImageDetections(np.array([[20.123, 10.0, 60, 40]]), np.array([0.123456789]), np.array([5]), source_id="42")
    path = write_submission(tmp_path / "new", [found], algorithm="d0")
    assert path.name == "detections_test-dev2017_d0_results.json"
    assert json.loads(path.read_text()) == [
        {"image_id": 42, "category_id": 5, "bbox": [10, 20.12, 30, 39.88], "score": 0.12346}
    ]
    with pytest.raises(DataError, match=r"source_id 'cat\.jpg'"):
        write_submission(tmp_path, [found._replace(source_id="cat.jpg")], algorithm="d0")
    with pytest.raises(OptionsError, match="Received 'a_b'"):
        submission_name("a_b")
