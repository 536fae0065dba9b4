"""The algorithms of tensorflow-model-optimization, imported where they are needed: they bring Keras 2 with them."""

import importlib
import warnings
from types import ModuleType

from efficientdet_pipeline.errors import MissingExtraError

_PACKAGE = "tensorflow_model_optimization"


def import_tfmot(module: str) -> ModuleType:
    """Returns a module of its core, such as `sparsity.keras.pruning_impl`.

    Raises:
      MissingExtraError: it is not installed; the message has the pip command.
    """
    try:
        with warnings.catch_warnings():
            # It compares versions by distutils, which is deprecated.
            warnings.simplefilter("ignore", DeprecationWarning)
            return importlib.import_module(f"{_PACKAGE}.python.core.{module}")
    except ImportError as error:
        raise MissingExtraError(
            f"prune, quantize and cluster need tensorflow-model-optimization, which cannot be imported ({error}); try "
            "`pip install tensorflow-model-optimization`."
        ) from error
