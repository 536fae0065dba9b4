"""The accuracy gate reports each artifact against the checkpoint, and rejects those that lose too much AP."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from efficientdet.types import Detections

from efficientdet_pipeline.errors import AccuracyError, error_message
from efficientdet_pipeline.export.gate import Artifact, GateReport, check_accuracy, measure_artifacts, size_of


class Rated:
    """A predictor with a known AP."""

    def __init__(self, ap: float) -> None:
        self.ap = ap

    def detect(self, images: np.ndarray) -> Detections:
        raise AssertionError


def evaluate(predictor: Any) -> dict[str, Any]:
    return {"AP": predictor.ap, "per_class": {"cat": predictor.ap}}


def report_of(folder: Path, **aps: float) -> GateReport:
    artifacts = []
    for name, ap in aps.items():
        path = folder / f"{name}.tflite"
        path.write_bytes(b"12345")
        raw = "tflite" if name == "tflite_nms" else ""
        artifacts.append(
            Artifact(name=name, path=path, predictor=Rated(ap), is_quantized="int8" in name, suppresses_like=raw)
        )
    return measure_artifacts(Rated(0.5), artifacts, evaluate, num_images=40, milliseconds={"tflite": 12.3})


def test_measure_artifacts_reports_each(tmp_path: Path) -> None:
    report = report_of(tmp_path, tflite=0.499, tflite_int8=0.492, tflite_nms=0.48)
    check_accuracy(report)
    float32, int8, nms = report.artifacts
    assert float32.drop == pytest.approx(0.001)
    assert (float32.milliseconds, float32.bytes, int8.max_drop) == (12.3, 5, 0.01)
    # The loss due to hard NMS is reported separately, and is not a loss of the network.
    assert nms.suppression_drop == pytest.approx(0.019)
    assert nms.is_within
    report.write(tmp_path / "report.json")
    content = json.loads((tmp_path / "report.json").read_text())
    assert [each["is_within"] for each in content["artifacts"]] == [True] * 3
    assert content["artifacts"][1]["per_class"] == {"cat": 0.492}
    lines = report.table().splitlines()
    assert lines[1].split() == ["checkpoint", "0.5000"]
    assert lines[2].split() == ["tflite", "0.4990", "+0.0010", "0.0050", "0.0", "12.3"]


def test_measure_artifacts_warns_of_a_checkpoint_that_has_nothing_to_lose(caplog: pytest.LogCaptureFixture) -> None:
    measure_artifacts(Rated(0.004), [], evaluate, num_images=40)
    assert "since the checkpoint has AP 0.0040 on 40 images" in caplog.text


def test_check_accuracy_names_artifact_limit_and_layers(tmp_path: Path) -> None:
    report = report_of(tmp_path, tflite=0.494, tflite_int8=0.45, tflite_nms=0.46)
    layers = {"tflite_int8": [(f"layer_{number}", 10.0 + number) for number in range(9)]}
    with pytest.raises(AccuracyError, match=r"On 40 images, tflite has AP 0.4940, 0.0060 below") as caught:
        check_accuracy(report, noisy_layers=layers)
    message = error_message(caught.value)
    assert int(caught.value.exit_code) == 79
    assert "tflite_int8 has AP 0.4500, 0.0500 below the checkpoint's 0.5000 (limit 0.01)" in message
    assert "Lowest signal-to-noise ratios in tflite_int8: layer_0 (10 dB), layer_1" in message
    assert "layer_5" not in message


def test_size_of_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "m.xml").write_bytes(b"123")
    (tmp_path / "m.bin").write_bytes(b"12345")
    assert size_of(tmp_path / "m.xml") == 8
    assert size_of(tmp_path) == 8
