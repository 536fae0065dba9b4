"""What compression needs of its surroundings."""

import keras

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.models.pretrained import StartWeights
from efficientdet_pipeline.options.compression import CompressionOptions


def check_compression(options: CompressionOptions, task: str = "detection") -> None:
    """Makes sure that the backend and the task can do what is asked for.

    Raises:
      OptionsError: the backend is JAX, or another network than an EfficientDet is to be quantized.
    """
    asked_for = list(options.asked_for)
    if asked_for and keras.backend.backend() != "tensorflow":
        raise OptionsError(
            f"{asked_for[0]} needs the backend tensorflow, on which tensorflow-model-optimization computes. Received "
            f"--{asked_for[0]} with the backend {keras.backend.backend()}; try --backend=tensorflow.",
            option=asked_for[0],
        )
    if options.quantize_spec() is not None and task != "detection":
        received = "--model_config" if task == "detection_parts" else f"--task={task}"
        raise OptionsError(
            f"quantize trains EfficientDets. Received it with {received}; leave --quantize out. In Python, "
            "compression.fake_quantization.QuantizedNetwork takes any network and an image size.",
            option="quantize",
        )


def check_start(options: CompressionOptions, start: StartWeights | None) -> None:
    """Makes sure that quantization-aware training starts from a trained network.

    Args:
      options: of the training.
      start: its initial weights; None for a run that is continued.

    Raises:
      OptionsError: the weights are random, at least in part.
    """
    if options.quantize_spec() is not None and start is not None and (not start.place or start.is_backbone):
        received = "those of a backbone" if start.is_backbone else "random weights"
        raise OptionsError(
            "quantize needs the weights of a trained detector, whose batch statistics it keeps. Received "
            f"{received} ({start.option}); train without --quantize first, then give --pretrained_ckpt=runs/NAME.",
            option="quantize",
        )
