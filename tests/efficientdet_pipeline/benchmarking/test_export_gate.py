"""Accuracy gate: artifacts of an export are compared with the checkpoint."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from efficientdet.types import Detections

from efficientdet_pipeline.benchmarking.export_gate import STRETCHED, ExportGate, require_compared, validation_gate
from efficientdet_pipeline.errors import AccuracyError, OptionsError
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.export.formats import FORMATS, formats_of
from efficientdet_pipeline.export.trained_detector import TrainedDetector
from efficientdet_pipeline.models.weights import TrainedWeights
from efficientdet_pipeline.options.export import GateOptions
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.runs.run_dir import RunFolder


class Shifted:
    """Detects the single object, shifted to the right by a number of pixels."""

    def __init__(self, pixels: float) -> None:
        self._pixels = pixels

    def detect(self, images: np.ndarray) -> Detections:
        boxes = np.array([[[4.0, 4 + self._pixels, 24, 24 + self._pixels]]])
        return Detections(boxes, np.ones((1, 1)), np.ones((1, 1)), np.array([1]))


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> ExportGate:
    truth = TruthImage("a", np.array([[4.0, 4.0, 24.0, 24.0]]), np.array([1]))
    detector: Any = dataclasses.make_dataclass("Fake", ["config", "label_map"])(None, {1: "cat"})
    monkeypatch.setattr(ExportGate, "checkpoint", Shifted(0.0))
    return ExportGate(detector=detector, samples=[(truth, lambda: np.zeros((40, 60, 3), np.uint8))])


def fake_format(name: str, shift: float) -> Any:
    return dataclasses.replace(FORMATS["saved_model"], name=name, file=name, load=lambda path, config: Shifted(shift))


def test_export_gate_measures_and_refuses_what_lost_accuracy(
    gate: ExportGate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    formats = [fake_format("exact", 0.0), fake_format("shifted", 6.0)]
    monkeypatch.setattr(type(formats[0]), "path", lambda self, folder, config: folder / self.name)
    for each in formats:
        (tmp_path / each.name).write_bytes(b"1234")
    report = gate.measure(tmp_path, formats, {"exact": {"logits": 60.0}})
    by_name = {each.name: each for each in report.artifacts}
    assert by_name["exact"].is_within
    assert (by_name["exact"].drop, by_name["exact"].bytes) == (0.0, 4)
    assert by_name["exact"].milliseconds is not None
    assert by_name["shifted"].drop > 0.5
    with pytest.raises(AccuracyError, match=r"shifted has AP 0\.1\d+, 0\.[5-9]\d+ below"):
        gate.check(report)
    lenient = dataclasses.replace(gate, max_drop=1.0)
    lenient.check(lenient.measure(tmp_path, formats, {}))


def test_require_compared_adds_the_form_without_suppression() -> None:
    assert [each.name for each in require_compared(formats_of(["tflite_nms_int8"]))] == [
        "tflite_int8",
        "tflite_nms_int8",
    ]
    assert require_compared(formats_of(["onnx"])) == formats_of(["onnx"])
    assert not any(STRETCHED in name for name in FORMATS)


def test_validation_gate_reads_the_runs_shards(toy_run: Path, caplog: pytest.LogCaptureFixture) -> None:
    config: Any = dataclasses.make_dataclass("Config", ["num_classes"])(4)
    names = {1: "circle", 2: "square", 3: "star", 4: "triangle"}
    detector = TrainedDetector(model=None, config=config, label_map=names)  # type: ignore[arg-type]
    run = RunFolder(toy_run, toy_run / "export", toy_run / "tfrecords", toy_run)
    gate = validation_gate(compose(GateOptions, gate_images=2), TrainedWeights(toy_run, toy_run, run, True), detector)
    assert gate is not None
    assert len(gate.samples) == 2
    truth, read = max(gate.samples, key=lambda sample: len(sample[0].boxes))
    image = read()
    assert truth.size == image.shape[:2]
    assert len(truth.boxes)
    assert (truth.boxes[:, 2:] <= [*image.shape[:2]]).all()
    alone = TrainedWeights(toy_run, toy_run, None, False)
    assert validation_gate(compose(GateOptions), alone, detector) is None
    with pytest.raises(OptionsError, match=r"quant_debug needs validation images .* Received none"):
        validation_gate(compose(GateOptions, quant_debug=True), alone, detector)
    assert "has no known validation shards" in caplog.text
    assert validation_gate(compose(GateOptions, gate=False), alone, detector) is None
