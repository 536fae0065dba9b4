"""Trained detector, the input of the writers of all formats."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from efficientdet.anchors import anchor_boxes
from efficientdet.any_detector import AnyDetectorConfig
from efficientdet.config import DetectorConfig
from efficientdet.detectors.config import DetectorParts
from efficientdet.inference_form import InferenceNetwork, inference_network
from efficientdet.types import Tensor

from efficientdet_pipeline.errors import AccuracyError, DataError
from efficientdet_pipeline.export.serving import ServedDetector
from efficientdet_pipeline.inference.canvas import normalized, pixel_canvases

_DTYPES = {"uint8": tf.uint8, "float32": tf.float32}


@dataclass(frozen=True, kw_only=True)
class TrainedDetector:
    """A network with its weights, and the information that its export needs."""

    model: keras.Model
    config: AnyDetectorConfig
    label_map: Mapping[int, str]
    """Class id, from 1 on, to name."""
    trained_names: Mapping[int, str] = field(default_factory=dict)
    """Class names in its training data, if they differ."""
    hparams: Mapping[str, Any] = field(default_factory=dict)
    """Label map of the run, written beside the artifacts."""
    mode: str = "per_class"
    """Mode of non-maximum suppression in SavedModel and frozen graph, as in `postprocess.detections`."""
    calibration: Sequence[np.ndarray] = ()
    """Calibration images (h, w, 3), uint8 RGB; about 32 of the training set."""
    learnt_ranges: Path | None = None
    """File of the ranges that a quantization-aware training has learnt; int8 TFLite files take them from there."""
    float_layers: Sequence[str] = ()
    """Operations that int8 TFLite files keep in float32, named as in `quantization_search`."""

    @cached_property
    def network(self) -> InferenceNetwork:
        """The inference form, built once for all formats."""
        return inference_network(self.model, self.config)

    @cached_property
    def served(self) -> ServedDetector:
        """The network with its pre- and post-processing."""
        return ServedDetector(self.network, self.config, mode=self.mode)

    def release_served(self) -> None:
        """Forgets `served`, whose traced functions hold the weights about twenty times."""
        self.__dict__.pop("served", None)

    def raw_heads(
        self, *, batch_size: int | None, dtype: str, network: Callable[[Tensor], Any] | None = None
    ) -> "RawHeads":
        """Returns the network with its normalization, traced from pixels to the outputs of all anchors.

        Of a detector built from parts, whose head may have no anchors, the
        outputs are decoded: logits of its scores, and boxes in canvas pixels in
        place of deltas. Of a detector with the head segmentation, its logits are
        the third output.

        Args:
          batch_size: fixed number of images; None for any.
          dtype: of the pixels, 0 to 255: uint8 or float32.
          network: from normalized canvases to the outputs, in place of the inference form.
        """
        network = self.network if network is None else network
        config = self.config
        spec = tf.TensorSpec((batch_size, *self.config.image_size, 3), _DTYPES[dtype], name="images")

        @tf.function(input_signature=[spec], autograph=False)
        def heads(images: Tensor) -> tuple[Tensor, ...]:
            outputs = network(normalized(tf.cast(images, tf.float32), config))
            if isinstance(config, DetectorParts):
                return _decoded(config, outputs)
            class_levels = [outputs["class"][level] for level in config.levels]
            box_levels = [outputs["box"][level] for level in config.levels]
            rows = -1 if batch_size is None else batch_size
            of_map = [tf.identity(outputs["segmentation"], name="map_logits")] if "segmentation" in outputs else []
            return (
                _all_anchors(class_levels, rows, config.num_classes, "logits"),
                _all_anchors(box_levels, rows, 4, "deltas"),
                *of_map,
            )

        return RawHeads(heads.get_concrete_function(), network)

    def calibration_canvases(self) -> list[np.ndarray]:
        """Returns the calibration images resized to the canvas, each (1, H, W, 3), float32, 0 to 255.

        Raises:
          DataError: there are no calibration images.
        """
        if not self.calibration:
            raise DataError(
                "Quantization to int8 needs calibration images, about 32 of the training set. Received "
                "none; add calibration images, or export tflite or tflite_fp16, which need none."
            )
        return [pixel_canvases(image[None], self.config)[0] for image in self.calibration]


class RawHeads(NamedTuple):
    """A traced network, from pixels to the outputs of `OUTPUTS`."""

    function: Any
    """A concrete function without variables."""
    owner: object
    """Objects that must live as long as the function."""


def _decoded(parts: DetectorParts, outputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
    boxes, scores = parts.decode(outputs)
    logits = tf.math.log(tf.maximum(scores, _LEAST_SCORE)) - tf.math.log(tf.maximum(1.0 - scores, _LEAST_SCORE))
    return tf.identity(logits, name="logits"), tf.identity(boxes, name="deltas")


def _all_anchors(levels: Sequence[Tensor], rows: int, depth: int, name: str) -> Tensor:
    flat = [tf.reshape(level, [rows, int(np.prod(level.shape[1:])) // depth, depth]) for level in levels]
    return tf.concat(flat, axis=1, name=name)


RunHeads = Callable[[np.ndarray], Sequence[np.ndarray]]
"""Canvases (b, H, W, 3), float32 pixels 0 to 255 → the outputs of `OUTPUTS`."""

OUTPUTS = ("logits", "deltas", "map_logits")
"""Outputs for all anchors: (b, a, k) and (b, a, 4); with the head segmentation also (b, h, w, classes)."""


_LEAST_SCORE = 1e-7
_LEAST_SIGNAL = 0.01
_NOTHING = 1e-6


def signal_to_noise(expected: np.ndarray, received: np.ndarray) -> float:
    """Returns the signal-to-noise ratio in decibels: 10 log10(signal / mean squared error).

    The signal is the variance of `expected`, or 1 % of its squared maximum if
    that is larger: an untrained network returns nearly the same value everywhere.
    """
    exact = expected.astype(np.float64)
    signal = max(float(exact.var()), (_LEAST_SIGNAL * float(np.abs(exact).max(initial=0.0))) ** 2)
    noise = float(np.square(exact - received).mean())
    if not np.isfinite(noise):
        return float("-inf")
    return float(10 * np.log10(max(signal, 1e-30) / max(noise, 1e-30)))


def error_of_output(received: np.ndarray, decibels: float) -> type[AccuracyError | DataError]:
    """Returns AccuracyError for an inexact output, DataError for one of another shape, zeros, or no numbers."""
    return AccuracyError if np.isfinite(decibels) and np.any(received) else DataError


def check_raw_heads(detector: TrainedDetector, run: RunHeads, *, min_decibels: float, what: str) -> dict[str, float]:
    """Checks that a written artifact reproduces the network's outputs; returns its signal-to-noise ratios.

    Some converters write, without an error, a file that returns zeros for every
    image. So the artifact is run, on a calibration image or on noise, before it
    is published.

    Args:
      run: the artifact in its own runtime.
      min_decibels: required signal-to-noise ratio of each output.
      what: name of the file, for the message.

    Raises:
      DataError: it does not at all: its outputs are of another shape, zeros, or no numbers.
      AccuracyError: it is not exact enough.
    """
    if detector.calibration:
        # Integer pixels, as uint8 inputs have them: their rounding is not an error of the file.
        canvas = np.rint(detector.calibration_canvases()[0])
    else:
        random = np.random.default_rng(0)
        canvas = random.uniform(0, 255, (1, *detector.config.image_size, 3)).round().astype(np.float32)
    heads = detector.raw_heads(batch_size=1, dtype="float32")
    expected = [np.asarray(each) for each in heads.function(tf.constant(canvas))]
    received = run(canvas)
    ratios = {}
    for name, wanted, found in zip(OUTPUTS[: len(expected)], expected, received, strict=True):
        is_alike = wanted.shape == found.shape
        ratios[name] = signal_to_noise(wanted, found) if is_alike else float("-inf")
        # The deltas of an untrained network are too small for int8, and for any box.
        is_nothing = is_alike and float(np.abs(wanted).max(initial=0.0)) < _NOTHING and np.abs(found).max() < _NOTHING
        if ratios[name] < min_decibels and not is_nothing:
            raise error_of_output(found, ratios[name])(
                f"{what} must reproduce the outputs of the trained network with {min_decibels:g} dB signal to noise. "
                "Received "
                f"{name} of shape {found.shape} with {ratios[name]:.1f} dB, largest value "
                f"{float(np.abs(found).max(initial=0.0)):.3g} where {float(np.abs(wanted).max()):.3g} is expected. "
                "The file is not kept. Networks of few training steps are sensitive to rounding: train longer; for "
                "int8 also try a larger --calibration_images or --quant_debug."
            )
    return ratios


def with_anchors(config: AnyDetectorConfig) -> DetectorConfig:
    """Returns the config as that of a network with google/automl's anchors.

    Raises:
      DataError: it is that of a detector built from parts.
    """
    if not isinstance(config, DetectorConfig):
        raise DataError(
            f"The format must be one without anchors inside. Received the detector {config.name}, which is built from "
            "parts; leave formats with nms and int8 out."
        )
    return config


def anchors_unit(given: AnyDetectorConfig) -> np.ndarray:
    """Returns the anchors as (center y, center x, height, width) in fractions of the canvas, float32 (a, 4)."""
    config = with_anchors(given)
    boxes = np.asarray(anchor_boxes(config), np.float64) / np.array([*config.image_size, *config.image_size])
    sizes = boxes[:, 2:] - boxes[:, :2]
    return np.concatenate([boxes[:, :2] + sizes / 2, sizes], axis=1).astype(np.float32)
