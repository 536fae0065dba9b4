"""Export inputs from the run of a checkpoint."""

import json
from pathlib import Path

import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.export.from_run import calibration_images, model_facts, run_thresholds
from efficientdet_pipeline.inference.thresholds import Thresholds
from efficientdet_pipeline.models.weights import TrainedWeights
from efficientdet_pipeline.runs.run_dir import RunFolder


def folder_of(path: Path) -> RunFolder:
    return RunFolder(path, path / "export", path / "tfrecords", path)


def test_calibration_images_are_the_runs_own(toy_run: Path, tmp_path: Path) -> None:
    assert len(calibration_images(folder_of(toy_run), 3)) == 3
    assert len(calibration_images(None, 2, pattern=str(toy_run / "tfrecords" / "val-*"))) == 2
    with pytest.raises(OptionsError, match=r"Received nothing, and the run .* has none"):
        calibration_images(folder_of(tmp_path), 3)
    with pytest.raises(OptionsError, match="the checkpoint is not in the folder of a run"):
        calibration_images(None, 3)


def test_model_facts_are_those_of_metadata_and_metrics(tmp_path: Path) -> None:
    counts = {"total": 1364, "train": 1292, "val": 72, "test": 0}
    about = {
        "url": "cells.zip",
        "number_of_images": counts,
        "pretrained": {"option": "backbone_ckpt", "place": "b0.h5"},
    }
    (tmp_path / "metadata.json").write_text(json.dumps(about))
    (tmp_path / "metrics.json").write_text(json.dumps({"AP": 0.5, "per_class": {}}))
    trained = TrainedWeights(tmp_path / "w", tmp_path / "d", folder_of(tmp_path), True)
    facts = model_facts(trained, {1: "cat"}, Thresholds(0.4, {1: 0.3, 2: 0.6}))
    assert facts.data == "1,364 images from cells.zip (train 1,292, val 72)."
    assert facts.metrics == {"AP": 0.5}
    assert facts.thresholds == {"cat": 0.3, "2": 0.6}
    assert facts.start == "b0.h5 (--backbone_ckpt)"
    assert model_facts(TrainedWeights(tmp_path, tmp_path, None, False), {}, None).data == ""


def test_run_thresholds_are_beside_the_weights_or_in_the_run(tmp_path: Path) -> None:
    weights = tmp_path / "checkpoints" / "best" / "model.weights.h5"
    weights.parent.mkdir(parents=True)
    assert run_thresholds(folder_of(tmp_path), weights) is None
    Thresholds(0.5).write(tmp_path / "thresholds.yaml")
    assert run_thresholds(folder_of(tmp_path), weights) == Thresholds(0.5)
    Thresholds(0.6).write(weights.parent / "thresholds.yaml")
    assert run_thresholds(folder_of(tmp_path), weights) == Thresholds(0.6)
