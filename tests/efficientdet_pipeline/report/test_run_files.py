"""Curves and progress from results.csv."""

from pathlib import Path

import pytest

from efficientdet_pipeline.report.run_files import Progress, progress, read_rows, training_charts

TEXT = """epoch,step,seconds,loss,val_loss,AP,AP50,APs,learning_rate
1,10,60,3.5,,,,,0.1
2,20,50,nan,2.0,0.25,0.5,-1,0.05
3,30,40,1.5,1.9,,,,0.01
"""


def test_training_charts_leave_out_what_was_not_measured(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text(TEXT)
    rows = read_rows(tmp_path / "results.csv")
    charts = {chart.title: chart for chart in training_charts(rows)}
    assert set(charts) == {"Loss", "Average precision", "Learning rate"}
    loss = {series.name: series for series in charts["Loss"].series}
    assert list(loss["training"].x) == [1, 2, 3]
    assert list(loss["validation"].y) == [2.0, 1.9]
    assert [series.name for series in charts["Average precision"].series] == ["AP", "AP50"]


def test_progress_estimates_the_time_left(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text(TEXT)
    rows = read_rows(tmp_path / "results.csv")
    far = progress(rows, num_epochs=10)
    assert far.seconds_left == pytest.approx(350)
    assert str(far) == "epoch 3 of 10, about 6 min left"
    assert str(progress(rows)) == "epoch 3"
    assert str(Progress(10, 10, 60)) == "epoch 10 of 10, finished"
    assert str(Progress(1, 100, 60)) == "epoch 1 of 100, about 1 h 39 min left"
    assert str(progress([])) == "epoch 0"


@pytest.mark.parametrize("content", [b"", b"no table", b"\xff\xfe", b"epoch,loss\nx,1\n", b'epoch\n"'])
def test_read_rows_of_a_file_that_is_no_table(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_bytes(content)
    assert read_rows(tmp_path / "results.csv") == []
    assert training_charts([]) == []
    assert read_rows(tmp_path / "missing.csv") == []
