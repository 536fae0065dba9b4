"""A missing optional package ends in one sentence with the pip command."""

import importlib
import sys

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


def test_log_left_out_names_formats_package_and_command(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="absl"):
        extras.log_left_out({"openvino": "openvino", "openvino_fp16": "openvino", "openvino_int8": "nncf"})
    begin = "Left out of --formats=all, because the package"
    command = "Install it with `pip install 'efficientdet-pipeline[openvino]'`."
    assert caplog.messages == [
        f"{begin} openvino is not installed: openvino, openvino_fp16. {command}",
        f"{begin} nncf is not installed: openvino_int8. {command}",
    ]


def test_check_installed_names_the_format(monkeypatch: pytest.MonkeyPatch) -> None:
    extras.check_installed({"onnx": ("cv2",)})
    monkeypatch.setitem(extras.EXTRAS, "absent_package", "openvino")
    with pytest.raises(MissingExtraError, match="The format openvino needs the package absent_package, which is not"):
        extras.check_installed({"openvino": ("cv2", "absent_package")})
    monkeypatch.setitem(sys.modules, "absent_package", None)  # Importing it is blocked.
    with pytest.raises(MissingExtraError, match="absent_package, which is not installed"):
        extras.check_installed({"openvino": ("absent_package",)})
