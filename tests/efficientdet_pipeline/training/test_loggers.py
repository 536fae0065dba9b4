"""CSV logger: one row per epoch; TensorBoard logger."""

import csv
from pathlib import Path

import pytest
import tensorflow as tf

from efficientdet_pipeline.tasks.detection import LAYOUT
from efficientdet_pipeline.training.loggers import CSVLogger, TensorBoardLogger

COLUMNS = LAYOUT.columns


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_csv_logger_writes_one_row_per_epoch_with_empty_cells_where_nothing_was_measured(tmp_path: Path) -> None:
    results = CSVLogger(tmp_path / "results.csv", COLUMNS)
    results.add({"epoch": 1, "step": 10, "loss": 1.23456789})
    results.add({"epoch": 2, "step": 20, "loss": 1e-9, "AP": -1.0, "stranger": 3})
    assert (tmp_path / "results.csv").read_text().splitlines()[0] == ",".join(COLUMNS)
    first, second = rows(tmp_path / "results.csv")
    assert (first["epoch"], first["step"], first["loss"], first["AP"]) == ("1", "10", "1.23457", "")
    assert (second["loss"], second["AP"]) == ("1e-09", "-1")
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]


def test_csv_logger_is_truncated_on_resume(tmp_path: Path) -> None:
    results = CSVLogger(tmp_path / "results.csv", COLUMNS)
    for epoch in (1, 2, 3):
        results.add({"epoch": epoch, "loss": float(epoch)})
    again = CSVLogger(tmp_path / "results.csv", COLUMNS)
    again.truncate_from_epoch(2)
    again.add({"epoch": 2, "loss": 9.0})
    assert [(row["epoch"], row["loss"]) for row in rows(tmp_path / "results.csv")] == [("1", "1"), ("2", "9")]


def test_csv_logger_truncates_nothing_in_a_new_run(tmp_path: Path) -> None:
    results = CSVLogger(tmp_path / "results.csv", COLUMNS)
    results.truncate_from_epoch(1)
    assert results.rows == []


def test_csv_logger_ignores_unknown_columns(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("epoch,loss,remark\r\n1,0.5,good,very\r\n\r\n")
    results = CSVLogger(path, COLUMNS)
    results.truncate_from_epoch(2)
    results.add({"epoch": 2, "loss": 0.25})
    assert [(row["epoch"], row["loss"]) for row in rows(path)] == [("1", "0.5"), ("2", "0.25")]


def test_tensorboard_logger_writes_scalars_with_their_step(tmp_path: Path) -> None:
    TensorBoardLogger(tmp_path).write({"train/loss": 0.5, "eval/AP": 0.25}, step=7)
    (file,) = tmp_path.iterdir()
    found = {}
    for record in tf.data.TFRecordDataset(str(file)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        found |= {value.tag: (event.step, float(tf.make_ndarray(value.tensor))) for value in event.summary.value}
    assert found == {"train/loss": (7, 0.5), "eval/AP": (7, 0.25)}


@pytest.mark.parametrize("content", ["epoch,step\nxx,1\n", "no table at all", "\x00\xff", "step\n1\n"])
def test_csv_logger_renames_a_damaged_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "results.csv"
    path.write_bytes(content.encode("latin-1"))
    results = CSVLogger(path, COLUMNS)
    results.truncate_from_epoch(3)
    results.add({"epoch": 3, "loss": 1.0})
    assert [row["epoch"] for row in rows(path)] == ["3"]
    kept = tmp_path / "results.csv.damaged"
    # A table without rows has nothing to lose.
    assert not kept.exists() or kept.read_bytes() == content.encode("latin-1")
