"""Export as TensorFlow Lite: raw outputs in float32, float16, int8 and int16x8, with builtin operations only."""

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.python.optimize.calibrator import Calibrator

from efficientdet_pipeline.console import native_lines_dropped
from efficientdet_pipeline.errors import DataError, OptionsError
from efficientdet_pipeline.export.tflite_file import (
    has_too_small_ranges,
    name_ends,
    operations,
    read_model,
    serialized,
    with_own_biases,
    with_wider_ranges,
)
from efficientdet_pipeline.export.trained_detector import OUTPUTS, RawHeads, TrainedDetector, check_raw_heads
from efficientdet_pipeline.inference.tflite_loader import TfliteRunner
from tfrmod import fileio

BYTES_PER_WEIGHT = {"float32": 4.0, "float16": 2.0, "int8": 1.0, "int16x8": 1.0}
"""Precision → bytes per weight in the file. int8: weights per output channel, and activations; int16x8: activations in
16 bits, weights in 8."""
CALIBRATED = ("int8", "int16x8")
"""Precisions whose ranges of activations are calibrated on images."""

_MIN_DECIBELS = {"float32": 60.0, "float16": 20.0, "int8": 3.0, "int16x8": 3.0}
"""Below this ratio a file is broken: a file of zeros has 0 or less; that of a correct one depends on the network.
The remaining accuracy is measured by the gate."""


def write_tflite(
    detector: TrainedDetector, path: Path, *, precision: str = "float32", float_layers: Sequence[str] = ()
) -> dict[str, float]:
    """Writes raw outputs: `images` uint8 (1, H, W, 3) → `logits` (1, a, k) and `deltas` (1, a, 4), float32.

    A detector with the head segmentation has a third one, `map_logits` (1, h, w, classes), on the grid of its finest
    level but one.

    Args:
      precision: one of `BYTES_PER_WEIGHT`.
      float_layers: names of operations that int8 keeps in float32.

    Returns:
      Signal-to-noise ratio in decibels of each output, on one image.

    Raises:
      DataError: there are no calibration images for int8 or int16x8, or the file does not
        reproduce the network's outputs.
    """
    heads = detector.raw_heads(batch_size=1, dtype="uint8")
    samples = detector.calibration_canvases() if precision in CALIBRATED else []
    content = converted(heads, precision=precision, samples=samples, float_layers=float_layers)
    content = put_ends_in_order(content)
    check_content(content, detector, precision)
    decibels = check_raw_heads(
        detector, TfliteRunner(content).run_outputs, min_decibels=_MIN_DECIBELS[precision], what=path.name
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    fileio.write_file(path, content)
    return decibels


def put_ends_in_order(content: bytes) -> bytes:
    """Returns the file with its input named `images` and its outputs as in `OUTPUTS`, in this order.

    The converter numbers the outputs of the traced function by name, in arbitrary
    order.

    Raises:
      DataError: the names have no such numbers.
    """
    model = read_model(content)
    graph = model.subgraphs[0]
    names = [graph.tensors[index].name.decode() for index in graph.outputs]
    numbers = [int(found[1]) if (found := re.search(r"[_:](\d+)$", name)) else 0 for name in names]
    if sorted(numbers) not in ([0, 1], [0, 1, 2]):
        raise DataError(
            f"TensorFlow's converter must number the names of two or three outputs from 0. Received {names}; this "
            "version of TensorFlow cannot be used for TFLite."
        )
    graph.outputs = [int(graph.outputs[numbers.index(number)]) for number in range(len(numbers))]
    name_ends(model, inputs=["images"], outputs=OUTPUTS[: len(numbers)])
    return serialized(model)


def converted(
    heads: RawHeads, *, precision: str, samples: Sequence[np.ndarray] = (), float_layers: Sequence[str] = ()
) -> bytes:
    """Returns the flatbuffer of a traced network from TensorFlow's converter.

    Args:
      samples: canvases (1, H, W, 3), 0 to 255, for int8 and int16x8.
      float_layers: as for `write_tflite`.

    Raises:
      OptionsError: the precision is unknown, or `float_layers` is given without int8.
    """
    converter = _converter(heads, "float32" if precision == "int16x8" else precision, samples)
    with without_notes():
        if not float_layers:
            content = bytes(converter.convert())
            if precision == "int8" and has_too_small_ranges(content):
                debugger = debugger_of(converter, samples)
                debugger.calibrated_model = with_wider_ranges(debugger.calibrated_model)
                return bytes(debugger.get_nondebug_quantized_model())
            return _in_16_bits(content, samples) if precision == "int16x8" else content
        if precision != "int8":
            raise OptionsError(f"Layers can be kept in float in int8 files only. Received precision={precision!r}.")
        return bytes(debugger_of(converter, samples, float_layers).get_nondebug_quantized_model())


@contextmanager
def without_notes() -> Iterator[None]:
    """Suppresses what the converter says of every file: its settings, and that ranges of quantized inputs, which are
    calibrated or in the graph, were not given.
    """
    with native_lines_dropped("fully_quantize: ", "INFO: Created TensorFlow Lite"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Statistics for quantized inputs", UserWarning)
        warnings.filterwarnings("ignore", r"[\s\S]*tf\.lite\.Interpreter is deprecated", UserWarning)
        yield


def _in_16_bits(content: bytes, samples: Sequence[np.ndarray]) -> bytes:
    """Returns a float32 file with weights in 8 and activations in 16 bits, calibrated on the samples."""
    # The converter calls the same quantizer, but leaves biases shared.
    calibrator = Calibrator(with_own_biases(content))
    ends = tf.float32  # What is not float32, here the uint8 input, stays as it is.
    quantized: bytes = calibrator.calibrate_and_quantize(
        _dataset(samples), ends, ends, True, activations_type=tf.int16, bias_type=tf.int64
    )
    return bytes(quantized)


def debugger_of(converter: Any, samples: Sequence[np.ndarray], float_layers: Sequence[str] = ()) -> Any:
    """Returns TensorFlow's quantization debugger, which calibrates once and quantizes without chosen layers."""
    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=list(float_layers) or None)
    return tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=_dataset(samples), debug_options=options
    )


def int8_converter(heads: RawHeads, samples: Sequence[np.ndarray]) -> Any:
    """Returns an int8 converter that has not run yet."""
    return _converter(heads, "int8", samples)


def _converter(heads: RawHeads, precision: str, samples: Sequence[np.ndarray]) -> Any:
    if precision not in BYTES_PER_WEIGHT:
        raise OptionsError(f"precision must be one of {', '.join(BYTES_PER_WEIGHT)}. Received {precision!r}.")
    converter = tf.lite.TFLiteConverter.from_concrete_functions([heads.function], heads.owner)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        converter.representative_dataset = _dataset(samples)
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,
        ]
    return converter


def _dataset(samples: Sequence[np.ndarray]) -> Callable[[], Iterator[list[np.ndarray]]]:
    pixels = [np.rint(sample).astype(np.uint8) for sample in samples]
    return lambda: ([each] for each in pixels)


def check_content(content: bytes, detector: TrainedDetector, precision: str) -> None:
    """Checks that a file contains the weights, and builtin operations only.

    Raises:
      DataError: it does not.
    """
    # Batch norms are folded and shared kernels duplicated; half the size of the weights is far below any complete file.
    fewest = 0.5 * detector.model.count_params() * BYTES_PER_WEIGHT[precision]
    if len(content) < fewest:
        raise DataError(
            f"A TFLite file of this network must have {fewest:,.0f} bytes or more. Received {len(content):,}: the "
            "converter dropped the weights, so the file would detect nothing."
        )
    foreign = sorted(name for name in operations(content) if name.startswith(("Flex", "CUSTOM")))
    if foreign:
        raise DataError(f"A TFLite file must have builtin operations only. Received {', '.join(foreign)}.")
