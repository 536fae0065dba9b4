"""thresholds.yaml."""

from pathlib import Path

import numpy as np
import pytest

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.evaluation.curves import OperatingPoint, ScoreCurve
from efficientdet_pipeline.evaluation.thresholds import Thresholds, best_thresholds, read_thresholds, write_thresholds


def test_thresholds_come_back_from_a_file(tmp_path: Path) -> None:
    curve = ScoreCurve(np.array([0.7, 0.3]), np.array([1.0, 0.5]), np.array([0.5, 0.5]), 2)
    empty = ScoreCurve(np.array([0.7]), np.array([0.0]), np.array([0.0]), 1)
    thresholds = best_thresholds({1: curve, 2: empty}, {1: "кот: <b>", 2: "dog"})
    assert thresholds.per_class["кот: <b>"].threshold == 0.7
    path = tmp_path / "thresholds.yaml"
    write_thresholds(path, thresholds)
    assert read_thresholds(path) == thresholds
    assert thresholds.of("кот: <b>", 0.1) == 0.7
    assert thresholds.overall is not None
    assert thresholds.of("dog", 0.1) == thresholds.overall.threshold
    assert Thresholds(None).of("dog", 0.1) == 0.1


def test_thresholds_edited_by_hand_may_be_bare_numbers(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.yaml"
    path.write_text("overall: 0.5\nclasses:\n  cat: 0.25\n")
    read = read_thresholds(path)
    assert (read.of("cat", 0.9), read.of("dog", 0.9)) == (0.25, 0.5)
    write_thresholds(path, Thresholds(OperatingPoint(0.5, 1.0, 1.0, 1.0)))
    assert read_thresholds(path).per_class == {}


@pytest.mark.parametrize("text", ["", "overall: 7", "overall: [", "classes: 3", "overall: {f1: 1}", "overall: x"])
def test_thresholds_that_are_none_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "thresholds.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=r"thresholds\.yaml must hold 'overall' and 'classes'"):
        read_thresholds(path)
