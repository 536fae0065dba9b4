"""Export at the end of a training."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from efficientdet_pipeline.export.in_subprocess import log_unmeasured
from efficientdet_pipeline.models.weights import TrainedWeights
from efficientdet_pipeline.runs.run_dir import RunFolder


@pytest.mark.parametrize(
    ("formats", "named"),
    [
        (["saved_model", "frozen"], ""),
        (["saved_model", "tflite_int8", "onnx"], "The accuracy of tflite_int8, onnx is not measured here"),
    ],
)
def test_log_unmeasured_names_the_formats_and_the_command(
    formats: Sequence[str], named: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunFolder(tmp_path, tmp_path / "export", tmp_path / "tfrecords", tmp_path)
    weights = TrainedWeights(tmp_path / "weights", tmp_path / "hparams_config.yaml", run, True)
    with caplog.at_level(logging.INFO, logger="absl"):
        log_unmeasured(formats, weights)
    text = caplog.text
    assert (named in text) if named else not text
    if named:
        assert f"--mode=export --model_dir={tmp_path} --formats={','.join(formats)}" in text
