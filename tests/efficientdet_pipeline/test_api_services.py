"""A search and a server by the Python API."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from efficientdet.types import Detections

import efficientdet_pipeline as edp
from efficientdet_pipeline.inference.detector import LoadedDetector
from efficientdet_pipeline.inference.thresholds import Thresholds


class Finder:
    def detect(self, images: np.ndarray) -> Detections:
        shape = (len(images), 1)
        return Detections(
            np.full((*shape, 4), [[0, 0, 5, 7]]), np.ones(shape), np.ones(shape), np.ones(len(images)).astype(int)
        )


def test_serve_answers_within_its_context(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'efficientdet-pipeline[serve]'")
    from PIL import Image

    from efficientdet_pipeline.serving import loading

    asked: list[Any] = []

    def load(options: Any, hparams: Any) -> LoadedDetector:
        asked.append(options)
        return LoadedDetector(predictor=Finder(), label_map={1: "cat"}, thresholds=Thresholds(0.4))

    monkeypatch.setattr(loading, "load_detector", load)
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    with edp.serve(tmp_path / "model.tflite", port=0, threads=1) as server:
        request = urllib.request.Request(f"{server.url}predict", (tmp_path / "a.png").read_bytes())
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert json.load(answer)["detections"][0]["class_name"] == "cat"
    assert asked[0].detection.saved_model_dir == str(tmp_path / "model.tflite")
    assert asked[0].detection.threads == 1


def test_tune_returns_the_trials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="optuna is not installed: pip install 'efficientdet-pipeline[tune]'")
    from efficientdet_pipeline.tuning import study
    from efficientdet_pipeline.tuning.trial_process import Outcome

    monkeypatch.setattr(study, "_run_process", lambda arguments, *_: Outcome("complete", 0.5, 0))
    space = tmp_path / "space.yaml"
    space.write_text("optimizer: [sgd, adam]\n")
    result = edp.tune("a.zip", space, study_dir=tmp_path / "study", num_trials=2, num_epochs=3)
    assert [trial.state for trial in result.trials] == ["complete", "complete"]
    assert result.arguments(result.best)[:2] == ["--url_dataset=a.zip", "--num_epochs=3"]
    assert (tmp_path / "study" / "trials.csv").is_file()
