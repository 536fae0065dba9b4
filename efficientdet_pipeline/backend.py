"""Which engine Keras computes with: settled before anything imports Keras, for it asks once a process."""

import importlib.util
import os
import sys

from absl import logging

from efficientdet_pipeline.errors import OptionsError

BACKENDS = ("tensorflow", "jax")
DEFAULT = "tensorflow"


def choose(asked: str | None) -> str:
    """Sets Keras's backend for this process, and returns it.

    Args:
      asked: by the options; empty leaves it to the environment. None: the mode
        knows TensorFlow alone.

    Raises:
      OptionsError: the backend is not installed, or Keras runs on another one already.
    """
    from_environment = os.environ.get("KERAS_BACKEND", "").lower()
    backend = DEFAULT if asked is None else asked or from_environment or DEFAULT
    if backend not in BACKENDS:
        logging.warning("KERAS_BACKEND=%s is no backend of this program; computing with %s.", backend, DEFAULT)
        backend = DEFAULT
    keras = sys.modules.get("keras")
    if keras is not None and keras.backend.backend() != backend:
        raise OptionsError(
            f"backend={backend} must be chosen before Keras is imported. Received a process in which it runs on "
            f"{keras.backend.backend()}; start this command in a process of its own.",
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
