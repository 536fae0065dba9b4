"""Thresholds per class."""

from pathlib import Path

import numpy as np
import pytest

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.inference.results import ImageDetections
from efficientdet_pipeline.inference.thresholds import Thresholds, read_thresholds


def test_thresholds_of_each_class(tmp_path: Path) -> None:
    found = ImageDetections(np.zeros((4, 4)), np.array([0.9, 0.5, 0.5, 0.2]), np.array([1, 1, 2, 2]))
    thresholds = Thresholds(0.4, {1: 0.6})
    assert thresholds.above(found).scores.tolist() == [0.9, 0.5]
    thresholds.write(tmp_path / "thresholds.yaml")
    assert read_thresholds(tmp_path / "thresholds.yaml") == thresholds


@pytest.mark.parametrize("text", ["", "default: 2\n", "by_class: {1: 0.5}\n", "default: 0.4\nby_class: [1]\n"])
def test_read_thresholds_refuses(text: str, tmp_path: Path) -> None:
    path = tmp_path / "thresholds.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match="threshold"):
        read_thresholds(path)
