"""Optional packages, imported where they are needed; the program never installs packages."""

import importlib
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType

from absl import logging

from efficientdet_pipeline.errors import MissingExtraError
from efficientdet_pipeline.system import is_installed

EXTRAS = {
    "onnxruntime": "onnx",
    "onnx": "onnx",
    "tf2onnx": "onnx",
    "openvino": "openvino",
    "nncf": "openvino",
    "mlflow": "mlflow",
    "wandb": "wandb",
    "starlette": "serve",
    "uvicorn": "serve",
    "optuna": "tune",
    "cv2": "",
}
"""Module → the extra of this distribution that installs it; empty for a requirement."""
_TELEMETRY = "openvino_telemetry"
"""Module that sends usage statistics from a forked process unless it cannot be imported."""


def import_extra(module: str, *, purpose: str) -> ModuleType:
    """Returns an optional module.

    Args:
      module: its name, possibly dotted.
      purpose: what it is needed for, for the message.

    Raises:
      MissingExtraError: it is not installed; the message has the pip command.
    """
    sys.modules.setdefault(_TELEMETRY, None)  # type: ignore[arg-type]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise _missing(module.partition(".")[0], purpose, f"cannot be imported ({error})") from error


def check_installed(formats: Mapping[str, Sequence[str]]) -> None:
    """Checks, without importing them, that the packages of export formats are installed.

    Args:
      formats: name of a format → packages.

    Raises:
      MissingExtraError: one is not installed; the message has the pip command.
    """
    for name, packages in formats.items():
        for package in packages:
            if not is_installed(package):
                raise _missing(package, f"The format {name}", "is not installed")


def log_left_out(formats: Mapping[str, str]) -> None:
    """Logs formats that --formats=all leaves out, by name with the package that each of them lacks."""
    for package in dict.fromkeys(formats.values()):
        names = [name for name, lacked in formats.items() if lacked == package]
        logging.info(
            "Left out of --formats=all, because the package %s is not installed: %s. Install it with `%s`.",
            package,
            ", ".join(names),
            _pip_command(package),
        )


def _missing(package: str, purpose: str, state: str) -> MissingExtraError:
    return MissingExtraError(
        f"{purpose} needs the package {package}, which {state}; install it with `{_pip_command(package)}`."
    )


def _pip_command(package: str) -> str:
    extra = EXTRAS.get(package, "")
    return f"pip install 'efficientdet-pipeline[{extra}]'" if extra else f"pip install {package}"
