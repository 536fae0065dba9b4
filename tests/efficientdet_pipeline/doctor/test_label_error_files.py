"""Likely label errors of an evaluation, as a file."""

import csv
from pathlib import Path

import numpy as np

from efficientdet_pipeline.doctor.label_error_files import COLUMNS, label_errors_of, write_label_errors
from efficientdet_pipeline.evaluation.instances import flatten
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.results import ImageDetections

BOX, FAR = [0.0, 0, 10, 20], [100.0, 100, 140, 140]


def test_label_errors_of_an_evaluation_are_written(tmp_path: Path) -> None:
    truth = [TruthImage(str(n), np.array([BOX]), np.array([1])) for n in range(4)] + [
        TruthImage("9", np.array([BOX, [300.0, 300, 400, 400]]), np.array([2, 1]), np.array([False, True]))
    ]
    detected = [ImageDetections(np.array([BOX]), np.array([0.9]), np.array([1]), source_id=str(n)) for n in range(3)]
    detected += [
        ImageDetections(
            np.array([BOX, FAR, [310.0, 310, 390, 390]]), np.full(3, 0.95), np.array([1, 1, 1]), source_id="9"
        )
    ]
    errors = label_errors_of(flatten(truth, detected, {1: "cat", 2: "=dog"}), {1: "cat", 2: "=dog"}, {"9": "-nine.jpg"})
    count = write_label_errors(tmp_path / "label_errors.csv", errors)
    rows = list(csv.reader((tmp_path / "label_errors.csv").read_text().splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == count + 1
    # Detections in the crowd are not wrong; outside it are a cat without annotation, and a dog detected as a cat.
    by_kind = {row[0]: row for row in rows[1:]}
    assert by_kind["found_without_truth"][1:6] == ["'-nine.jpg", "100.0", "100.0", "140.0", "140.0"]
    assert by_kind["truth_other_class"][6].startswith("'=dog, detected as cat")
    assert by_kind["truth_never_found"][1] == "3"
