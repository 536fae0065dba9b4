"""Selection of the Keras backend, which must be set before Keras is first imported."""

import importlib.util
import os
import sys

from absl import logging

from efficientdet_pipeline.errors import OptionsError

BACKENDS = ("tensorflow", "jax")
DEFAULT = "tensorflow"


def choose(asked: str | None) -> str:
    """Sets the Keras backend of this process and returns its name.

    Args:
      asked: value of --backend; if empty, the environment variable KERAS_BACKEND
        decides. None: the mode supports only TensorFlow.

    Raises:
      OptionsError: the backend is not installed, or Keras was already imported with another one.
    """
    from_environment = os.environ.get("KERAS_BACKEND", "").lower()
    backend = DEFAULT if asked is None else asked or from_environment or DEFAULT
    if backend not in BACKENDS:
        logging.warning("KERAS_BACKEND=%s is not supported; using %s.", backend, DEFAULT)
        backend = DEFAULT
    keras = sys.modules.get("keras")
    if keras is not None and keras.backend.backend() != backend:
        raise OptionsError(
            f"backend={backend} must be chosen before Keras is imported. In this process Keras already runs on "
            f"{keras.backend.backend()}; run this command in a separate process.",
            option="backend",
        )
    if backend == "jax" and importlib.util.find_spec("jax") is None:
        raise OptionsError(
            "backend=jax needs JAX. It is not installed here; try `pip install 'efficientdet-pipeline[jax]'`, with "
            "'jax[cuda12]' or 'jax[tpu]' beside it for accelerators.",
            option="backend",
        )
    os.environ["KERAS_BACKEND"] = backend
    return backend
