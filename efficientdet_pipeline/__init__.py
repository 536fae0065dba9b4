"""From annotated images to a trained, evaluated and exported EfficientDet.

>>> import efficientdet_pipeline as edp
>>> run = edp.train("images.zip", model_name="efficientdet-lite0", num_epochs=50)

Importing the package imports neither TensorFlow nor Keras; see `efficientdet_pipeline.api`.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from efficientdet_pipeline.api import (
        Detections,
        Detector,
        RunResult,
        check_dataset,
        classify,
        convert,
        evaluate,
        export,
        features,
        report,
        train,
    )
    from efficientdet_pipeline.api_services import serve, tune
    from efficientdet_pipeline.class_predictors import Classifier, Segmentation, Segmenter
    from efficientdet_pipeline.errors import (
        CannotWriteError,
        DataError,
        DownloadError,
        MissingError,
        OptionsError,
        OutOfMemoryError,
        PipelineError,
        StoppedError,
    )

__all__ = [
    "CannotWriteError",
    "Classifier",
    "DataError",
    "Detections",
    "Detector",
    "DownloadError",
    "MissingError",
    "OptionsError",
    "OutOfMemoryError",
    "PipelineError",
    "RunResult",
    "Segmentation",
    "Segmenter",
    "StoppedError",
    "check_dataset",
    "classify",
    "convert",
    "evaluate",
    "export",
    "features",
    "report",
    "serve",
    "train",
    "tune",
]
_MODULES = {
    **dict.fromkeys(("Classifier", "Segmentation", "Segmenter"), "class_predictors"),
    **dict.fromkeys(("serve", "tune"), "api_services"),
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    in_module = "errors" if name.endswith("Error") else _MODULES.get(name, "api")
    return getattr(importlib.import_module(f"{__name__}.{in_module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keeps `export` the function of the API: importing the subpackage of that name would replace the attribute."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
