"""A detector that was trained with fake quantization as an int8 TensorFlow Lite file with its learnt ranges.

The converter takes the ranges from fake-quantization operations in the graph,
and needs no calibration; the weights it is given are rounded already, so that
it finds the scales that training used.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging
from efficientdet.types import Tensor

from efficientdet_pipeline.compression.fake_quantization import QuantizedNetwork
from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.export.tflite import check_content, put_ends_in_order, without_notes
from efficientdet_pipeline.export.trained_detector import RawHeads, TrainedDetector, check_raw_heads
from efficientdet_pipeline.inference.canvas import normalized
from efficientdet_pipeline.inference.tflite_loader import TfliteRunner
from tfrmod import fileio

_MIN_DECIBELS = 3.0
_MIN_SHARE = 0.5
"""Share of raw outputs that must be within one step of the fake-quantized network's: a broken file has none, and the
integer kernels of other processors round a little differently."""


class Agreement(NamedTuple):
    """How far raw outputs of an int8 file are from those of the fake-quantized network, in steps of the outputs."""

    equal: float
    """Share of outputs that are the same."""
    within_one: float
    """Share of outputs that differ by one step at most."""
    largest: float
    """Largest difference."""

    def __str__(self) -> str:
        """Returns a sentence for the log."""
        return (
            f"{100 * self.equal:.2f} % of the raw outputs equal the fake-quantized network's, "
            f"{100 * self.within_one:.2f} % are within one step, and the largest difference is {self.largest:.0f} steps"
        )


def quantized_network(detector: TrainedDetector, ranges: Path) -> QuantizedNetwork:
    """Returns the fake-quantized network of a detector with learnt ranges."""
    network = QuantizedNetwork(detector.model, detector.config.image_size)
    network.load_ranges(ranges)
    return network


def quantized_heads(detector: TrainedDetector, network: QuantizedNetwork) -> RawHeads:
    """Returns the fake-quantized network traced for one image as the converter takes it, its weights as constants."""
    weights = {name: tf.constant(np.asarray(value)) for name, value in network.weight_tensors().items()}
    ranges = tf.constant(np.asarray(network.ranges_layer.ranges.value))

    def outputs(images: Tensor) -> object:
        return network.outputs_of(images, weights, ranges=ranges)

    return detector.raw_heads(batch_size=1, dtype="uint8", network=outputs)


def integer_heads(detector: TrainedDetector, network: QuantizedNetwork, canvas: np.ndarray) -> list[np.ndarray]:
    """Returns logits (1, a, k) and deltas (1, a, 4) as the fake-quantized network computes them with integers.

    Not in a graph, whose optimizer multiplies scales into constant kernels, so that sums are rounded otherwise.
    """
    outputs = network(normalized(tf.constant(canvas, tf.float32), detector.config), training=False)
    depths = {"class": detector.config.num_classes, "box": 4}
    return [
        np.concatenate([np.asarray(outputs[head][level]).reshape(1, -1, depth) for level in outputs[head]], axis=1)
        for head, depth in depths.items()
    ]


def write_learnt_int8(detector: TrainedDetector, path: Path, ranges: Path) -> dict[str, float]:
    """Writes raw heads as `write_tflite` does, in int8 with learnt ranges; returns signal to noise in decibels.

    Args:
      detector: with the weights of a quantization-aware training.
      path: of the file.
      ranges: file of the learnt ranges, beside the weights.

    Raises:
      DataError: the file does not compute what the fake-quantized network computes.
    """
    network = quantized_network(detector, ranges)
    heads = quantized_heads(detector, network)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([heads.function], tf.Module())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    with without_notes():
        content = put_ends_in_order(bytes(converter.convert()))
    check_content(content, detector, "int8")
    decibels = check_raw_heads(detector, TfliteRunner(content).run_heads, min_decibels=_MIN_DECIBELS, what=path.name)
    if detector.calibration:
        found = agreement(detector, network, content)
        logging.info("%s: %s.", path.name, found)
        if found.within_one < _MIN_SHARE:
            raise DataError(
                f"{path.name} must give what the fake-quantized network gives, within one step. Received that {found}. "
                "The file is not kept; export with --formats=tflite, and report it."
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    fileio.write_file(path, content)
    return decibels


def agreement(detector: TrainedDetector, network: QuantizedNetwork, content: bytes, *, images: int = 4) -> Agreement:
    """Returns how far the raw outputs of a file are from the fake-quantized network's on calibration images."""
    runner = TfliteRunner(content)
    differences: list[np.ndarray] = []
    for canvas in detector.calibration_canvases()[:images]:
        pixels = np.rint(canvas)
        expected = integer_heads(detector, network, pixels)
        received = runner.run_heads(pixels.astype(np.float32))
        for head, wanted, found in zip(("class", "box"), expected, received, strict=True):
            differences.append(np.abs(wanted - found).ravel() / network.output_step(head))
    steps = np.rint(np.concatenate(differences))
    return Agreement(float(np.mean(steps == 0)), float(np.mean(steps <= 1)), float(steps.max()))
