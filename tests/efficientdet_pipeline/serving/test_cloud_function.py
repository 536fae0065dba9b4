"""The cloud function answers like /predict, loads its detector once, and runs under functions-framework."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.serving import cloud_function
from efficientdet_pipeline.serving.prediction_service import PredictionService


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch, service: PredictionService) -> list[list[str]]:
    """Returns the arguments of each service that was loaded."""
    found: list[list[str]] = []
    monkeypatch.setattr(cloud_function, "service_of", lambda arguments: found.append(arguments) or service)
    monkeypatch.setattr(cloud_function, "_loaded", {})
    monkeypatch.setenv("DETECTOR", "export")
    monkeypatch.setenv("DETECTOR_OPTIONS", "--min_score_thresh=0.3 --classes='a b'")
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_cloud_function_answers_as_predict_does(
    loads: list[list[str]], image: Callable[..., bytes], tmp_path: Path
) -> None:
    functions_framework: Any = pytest.importorskip(
        "functions_framework", reason="pip install 'efficientdet-pipeline[function]'"
    )
    (tmp_path / "main.py").write_text("from efficientdet_pipeline.serving.cloud_function import predict\n")
    client = functions_framework.create_app("predict", str(tmp_path / "main.py")).test_client()
    answer = client.post("/?min_score=0.1", data=image(9), content_type="image/png")
    assert answer.status_code == 200
    assert answer.content_type == "application/json"
    assert [each["box"]["x1"] for each in json.loads(answer.data)["detections"]] == [9, 9]
    assert client.post("/", data=b"text", content_type="text/plain").status_code == 422
    assert client.post("/", data=bytes(30_000), content_type="image/png").status_code == 413
    assert client.post("/", data=b"{}", content_type="application/json").status_code == 400
    assert loads == [["--saved_model_dir=export", "--min_score_thresh=0.3", "--classes=a b"]]


def test_cloud_function_needs_a_detector(loads: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DETECTOR")
    with pytest.raises(OptionsError, match="DETECTOR must name an export"):
        cloud_function.predict(None)  # type: ignore[arg-type]
