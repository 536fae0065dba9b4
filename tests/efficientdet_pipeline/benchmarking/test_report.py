"""Table, JSON and chart of a benchmark agree."""

import json
from pathlib import Path

import cv2
import pytest

from efficientdet_pipeline.benchmarking import machine, report
from efficientdet_pipeline.benchmarking.bottleneck import Speeds

SWEEP = [
    Speeds(batch_size=8, loader=1234.5, step=61.25, together=60.0, host_bytes=2 * 10**9),
    Speeds(batch_size=16, loader=50.0, step=80.0, together=45.0, host_bytes=2 * 10**9, device_bytes=31 * 10**8),
]


def test_report_table_has_a_line_a_batch_size() -> None:
    _, small, large = report.table(SWEEP).splitlines()
    assert small.split() == ["8", "1,234", "61.2", "60.0", "step", "host", "2.0", "GB"]
    assert large.split() == ["16", "50.0", "80.0", "45.0", "loader", "GPU", "3.1", "GB,", "host", "2.0", "GB"]


def test_report_figures_are_json_with_machine_and_best() -> None:
    about = {"machine": machine.description(), "settings": {"image_size": "64x64"}}
    figures = json.loads(json.dumps(report.figures(SWEEP, ended="", conclusion=["So."], about=about)))
    assert figures["best"] == {"batch_size": 8, "together": 60.0, "bottleneck": "step"}
    assert figures["sweep"][1]["bottleneck"] == "loader"
    assert figures["sweep"][1]["reached"] == pytest.approx(0.9)
    assert figures["machine"]["backend"] == "tensorflow"
    assert figures["machine"]["cores"] >= 1
    assert {"keras", "tensorflow", "python"} <= figures["machine"]["versions"].keys()


@pytest.mark.parametrize("sweep", [SWEEP, SWEEP[1:]])
def test_report_image_shows_three_bars_a_batch_size(sweep: list[Speeds], tmp_path: Path) -> None:
    path = tmp_path / "new" / "speeds.png"
    report.draw(path, sweep, title="efficientdet-d0, 64x64", conclusion="Fastest is batch_size=8.")
    picture = cv2.imread(str(path))
    assert picture.shape[1] > picture.shape[0] > 300
    # OpenCV's order of colours is blue, green, red.
    for blue, green, red in ((0xB5, 0x8B, 0x4C), (0x3C, 0xA2, 0xE0), (0x56, 0x4A, 0x3F)):
        assert (picture == (blue, green, red)).all(axis=-1).sum() > 500


def test_report_memory_is_measured_again() -> None:
    machine.reset_peak_memory()
    before = machine.peak_bytes()
    assert before is not None
    block = bytearray(300 * 10**6)
    assert machine.peak_bytes() > before + 250 * 10**6
    del block
    machine.reset_peak_memory()
    assert machine.peak_bytes() < before + 150 * 10**6
