"""thresholds.yaml of a run."""

from pathlib import Path

import numpy as np
import pytest

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.evaluation.curves import ScoreCurve
from efficientdet_pipeline.evaluation.thresholds import (
    BestThresholds,
    best_thresholds,
    read_best_thresholds,
    write_best_thresholds,
)
from efficientdet_pipeline.inference.results import ImageDetections
from efficientdet_pipeline.inference.thresholds import read_thresholds

CURVE = ScoreCurve(np.array([0.7, 0.3], np.float32).astype(float), np.array([1.0, 0.5]), np.array([0.5, 0.5]), 2)
NOTHING_RIGHT = ScoreCurve(np.array([0.7]), np.array([0.0]), np.array([0.0]), 1)


def test_best_thresholds_are_read_by_inference(tmp_path: Path) -> None:
    best = best_thresholds({1: CURVE, 5: NOTHING_RIGHT}, {1: "кот: <b>", 5: "dog"})
    path = tmp_path / "thresholds.yaml"
    write_best_thresholds(path, best, default=0.4)
    read = read_thresholds(path)
    assert best.overall is not None
    assert read.default == best.overall.threshold
    assert read.by_class == {1: best.per_class["кот: <b>"].threshold}
    # A detection of exactly the best score is shown, in the precision in which detectors give scores.
    found = ImageDetections(np.zeros((2, 4)), np.array([0.7, 0.69], np.float32), np.array([1, 1]))
    assert len(read.above(found).scores) == 1
    assert read_best_thresholds(path) == best


def test_best_thresholds_of_nothing_right_are_the_default(tmp_path: Path) -> None:
    best = best_thresholds({5: NOTHING_RIGHT}, {5: "dog"})
    assert best == BestThresholds(None)
    path = tmp_path / "thresholds.yaml"
    write_best_thresholds(path, best, default=0.4)
    assert (read_thresholds(path).default, read_thresholds(path).by_class) == (0.4, {})
    assert read_best_thresholds(path) == best


@pytest.mark.parametrize("text", ["", "default: 0.4", "measured: [", "measured: {overall: 3, classes: {}, iou: 0.5}"])
def test_thresholds_without_a_measurement_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "thresholds.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=r"thresholds\.yaml must have the metrics"):
        read_best_thresholds(path)
