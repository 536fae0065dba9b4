"""Evaluation by classes: file, shares and confusions."""

from pathlib import Path

import numpy as np
import pytest

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.evaluation.class_evaluation import (
    ClassEvaluation,
    WorstImage,
    jpeg_of,
    read_class_evaluation,
    write_class_evaluation,
)
from efficientdet_pipeline.evaluation.metrics import Metrics

EVALUATION = ClassEvaluation(
    unit="images",
    metrics=Metrics({"accuracy": 0.75, "top5": 1.0}, "accuracy", {"accuracy": {"cat": 0.5, "dög": 1.0}}),
    names=("cat", "dög"),
    confusion=np.array([[1, 1], [0, 2]]),
    num_images=4,
    worst=(WorstImage(name="a\udcff.jpg", note="cat, taken for dög", jpeg=b"\xff\xd8x"),),
    facts={"checkpoint": "best", "epoch": 3},
)


def test_class_evaluation_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_class_evaluation(tmp_path / "report" / "e.json", EVALUATION)
    again = read_class_evaluation(tmp_path / "report" / "e.json")
    np.testing.assert_array_equal(again.confusion, EVALUATION.confusion)
    assert (again.names, again.worst, again.metrics, again.facts) == (
        EVALUATION.names,
        EVALUATION.worst,
        EVALUATION.metrics,
        EVALUATION.facts,
    )


def test_class_evaluation_shares_and_confusions() -> None:
    np.testing.assert_array_equal(EVALUATION.shares, [[0.5, 0.5], [0, 1]])
    assert EVALUATION.most_confused(5) == [("cat", "dög", 1)]


@pytest.mark.parametrize("content", ["", "[]", '{"unit": "images"}', '{"names": 3}'])
def test_read_class_evaluation_refuses_other_files(tmp_path: Path, content: str) -> None:
    (tmp_path / "e.json").write_text(content)
    with pytest.raises(DataError, match=r"must hold an evaluation by classes.*Evaluate again"):
        read_class_evaluation(tmp_path / "e.json")


def test_jpeg_of_reduces_large_pictures() -> None:
    small, large = (len(jpeg_of(np.zeros((side, 8, 3), np.uint8))) for side in (1200, 4800))
    assert large < 2 * small
