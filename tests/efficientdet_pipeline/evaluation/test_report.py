"""metrics.json and the table on the console."""

import json
from pathlib import Path

import pytest

from efficientdet_pipeline.evaluation.coco import METRIC_NAMES
from efficientdet_pipeline.evaluation.report import format_table, write_metrics

METRICS = {
    **dict.fromkeys(METRIC_NAMES, 0.25),
    "AP": 0.5,
    "APs": -1.0,
    "per_class": {"cat": 0.5, "Äpfel": -1.0},
    "per_class_AP50": {"cat": 0.75, "Äpfel": -1.0},
}


def test_the_file_holds_the_numbers_and_the_epoch(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.json"
    write_metrics(path, METRICS, epoch=3)
    write_metrics(path, METRICS, epoch=4)
    assert json.loads(path.read_text(encoding="utf-8")) == {"epoch": 4, **METRICS}
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_metrics(path, METRICS, epoch=1)
    with pytest.raises(TypeError):
        write_metrics(path, {**METRICS, "AP": object()}, epoch=2)
    assert json.loads(path.read_text(encoding="utf-8"))["epoch"] == 1
    assert list(tmp_path.iterdir()) == [path]


def test_the_table_names_all_numbers_and_classes() -> None:
    table = format_table(METRICS)
    lines = table.splitlines()
    assert all(name in table for name in METRIC_NAMES)
    assert lines[0].startswith("AP       0.500   AP50")
    assert lines[1].startswith("APs          -")
    assert lines[-2:] == ["cat    0.500  0.750", "Äpfel      -      -"]


def test_without_classes_there_is_no_second_table() -> None:
    assert "class" not in format_table({**METRICS, "per_class": {}, "per_class_AP50": {}})


def test_the_table_shows_an_interval_where_there_is_one() -> None:
    assert "confidence" not in format_table(METRICS)
    assert "\nAP 0.438 to 0.562 with 95 % confidence" in format_table({**METRICS, "AP_interval": [0.4375, 0.5625]})
