"""What compression needs of its surroundings."""

import keras

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.compression import CompressionOptions


def check_compression(options: CompressionOptions) -> None:
    """Makes sure that the backend can do what is asked for.

    Raises:
      OptionsError: it is JAX.
    """
    asked_for = list(options.asked_for)
    if asked_for and keras.backend.backend() != "tensorflow":
        raise OptionsError(
            f"{asked_for[0]} needs the backend tensorflow, on which tensorflow-model-optimization computes. Received "
            f"--{asked_for[0]} with the backend {keras.backend.backend()}; try --backend=tensorflow.",
            option=asked_for[0],
        )
