"""Optional packages, imported where they are needed; nothing is ever installed by the program itself."""

import importlib
import sys
from types import ModuleType

from efficientdet_pipeline.errors import MissingExtraError

EXTRAS = {
    "onnxruntime": "onnx",
    "onnx": "onnx",
    "tf2onnx": "onnx",
    "openvino": "openvino",
    "nncf": "openvino",
    "cv2": "",
}
"""Module → the extra of this distribution that brings it; empty for a requirement."""
_TELEMETRY = "openvino_telemetry"
"""Sends statistics of use over the network, from a forked process, unless it cannot be imported."""


def import_extra(module: str, *, purpose: str) -> ModuleType:
    """Returns an optional module.

    Args:
      module: its name, possibly dotted.
      purpose: what needs it, for the message.

    Raises:
      MissingExtraError: it is not installed; the message has the pip command.
    """
    sys.modules.setdefault(_TELEMETRY, None)  # type: ignore[arg-type]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        extra = EXTRAS.get(package, "")
        wanted = f"'efficientdet-pipeline[{extra}]'" if extra else package
        raise MissingExtraError(
            f"{purpose} needs the package {package}, which cannot be imported ({error}); install it with "
            f"`pip install {wanted}`."
        ) from error
