"""A missing optional package ends in one sentence with the command that installs it."""

import importlib

import pytest

from efficientdet_pipeline.errors import MissingExtraError
from efficientdet_pipeline.inference import extras


def test_import_extra_returns_the_module() -> None:
    assert extras.import_extra("cv2", purpose="Reading a video").__name__ == "cv2"


def test_import_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extras.EXTRAS, "absent_package", "onnx")
    with pytest.raises(MissingExtraError, match=r"pip install 'efficientdet-pipeline\[onnx\]'") as caught:
        extras.import_extra("absent_package", purpose="Writing an ONNX file")
    assert int(caught.value.exit_code) == 69


def test_import_extra_keeps_telemetry_from_being_sent() -> None:
    extras.import_extra("cv2", purpose="Reading a video")
    with pytest.raises(ImportError):
        importlib.import_module("openvino_telemetry")
