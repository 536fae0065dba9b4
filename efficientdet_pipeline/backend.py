"""Selection of the Keras backend, which must be set before Keras is first imported."""

import importlib.util
import os
import sys

from absl import logging

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.system import free_memory

BACKENDS = ("tensorflow", "jax")
DEFAULT = "tensorflow"


def choose(asked: str | None, *, reads_environment: bool = True) -> str:
    """Sets the Keras backend of this process and returns its name.

    Args:
      asked: value of --backend; if empty, the environment variable KERAS_BACKEND
        decides. None: the mode supports only TensorFlow.
      reads_environment: whether KERAS_BACKEND counts. If not, an empty `asked`
        means the backend that Keras already runs on, if it is imported.

    Raises:
      OptionsError: the backend is not installed, or Keras was already imported with another one.
    """
    keras = sys.modules.get("keras")
    if reads_environment:
        implied = os.environ.get("KERAS_BACKEND", "").lower()
    else:
        implied = keras.backend.backend() if keras is not None else ""
    backend = DEFAULT if asked is None else asked or implied or DEFAULT
    if backend not in BACKENDS:
        logging.warning("KERAS_BACKEND=%s is not supported; using %s.", backend, DEFAULT)
        backend = DEFAULT
    if keras is not None and keras.backend.backend() != backend:
        raise OptionsError(
            f"backend={backend} must be set before Keras is imported. In this process Keras already runs on "
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


def prepare_environment(*, debug: bool) -> bool:
    """Sets environment variables that TensorFlow reads when it is loaded; returns whether it is too late for them."""
    is_late = _has_devices() and "TF_CPU_BFC_MEM_LIMIT_IN_MB" not in os.environ
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if debug else "3")
    # Without it the step time of a CPU swings between 0.56 and 1.0 s with page faults of large temporaries.
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
    # A batch too large for the memory then raises an error; otherwise the OOM killer would end the process.
    os.environ.setdefault("TF_CPU_BFC_MEM_LIMIT_IN_MB", str(_memory_for_tensors() >> 20))
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    return is_late


def warn_of_late_settings() -> None:
    """Warns that a training on the CPU runs without its memory limit, because TensorFlow computed before."""
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        logging.warning(
            "TensorFlow has already computed in this process, so the memory limit of a training cannot be set: a batch "
            "that does not fit in memory ends the process. Train first, or set TF_CPU_ALLOCATOR_USE_BFC=1 and "
            "TF_CPU_BFC_MEM_LIMIT_IN_MB before TensorFlow computes."
        )


def _has_devices() -> bool:
    """Returns whether TensorFlow has created its devices, with the settings of that moment."""
    context = getattr(sys.modules.get("tensorflow.python.eager.context"), "_context", None)
    return getattr(context, "_context_handle", None) is not None


def _memory_for_tensors() -> int:
    """Returns the memory limit for tensors in bytes; a tenth of the available memory is left to everything else."""
    return min(free_memory() * 9 // 10, 1 << 45)
