"""Validation shards of the accuracy gate: those of the pattern, else of the run, else a warning."""

from pathlib import Path

import pytest
from absl import logging

from efficientdet_pipeline.benchmarking.gate_shards import gate_shards
from efficientdet_pipeline.models.weights import TrainedWeights
from efficientdet_pipeline.options.export import GateOptions


def test_gate_shards_are_those_of_the_pattern_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: said.append(text % values))
    trained = TrainedWeights(tmp_path / "w.h5", tmp_path / "h.yaml", None, False)
    assert gate_shards(GateOptions(), trained) == ((), None)
    assert "has no known validation shards" in said[0]
    (tmp_path / "val-0.tfrecord").write_bytes(b"")
    files, made = gate_shards(GateOptions(val_file_pattern=f"{tmp_path}/val-*"), trained)
    assert ([path.name for path in files], made, len(said)) == (["val-0.tfrecord"], None, 1)
