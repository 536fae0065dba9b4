"""Export formats of segmentation and classification: one table for writing, messages and the accuracy gate."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from efficientdet_pipeline.errors import DataError, OptionsError
from efficientdet_pipeline.export.frozen_graph import constant_graph
from efficientdet_pipeline.export.onnx_model import onnx_of
from efficientdet_pipeline.export.probability_graph import ProbabilityGraph, probability_graph
from efficientdet_pipeline.export.tflite import converted
from efficientdet_pipeline.export.tflite_file import name_ends, operations, read_model, serialized
from efficientdet_pipeline.export.trained_detector import RawHeads, error_of_output, signal_to_noise
from efficientdet_pipeline.inference.extras import import_extra
from efficientdet_pipeline.inference.onnx_loader import OnnxRunner
from efficientdet_pipeline.inference.openvino_loader import OpenvinoRunner
from efficientdet_pipeline.inference.probabilities import OUTPUT, RunCanvas
from efficientdet_pipeline.inference.tflite_loader import TfliteRunner
from efficientdet_pipeline.models.class_networks import ClassNetwork
from efficientdet_pipeline.options.export import FormatOptions
from tfrmod import fileio

_MIN_DECIBELS = {"float32": 60.0, "float16": 20.0, "int8": 3.0}
"""Below, a file is broken rather than inexact; what accuracy is left, the gate measures."""
_NOTHING = 1e-6
"""Difference of probabilities that no class depends on."""
Decibels = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class TrainedClassNetwork:
    """A segmentation or classification network with its weights, and what an export of it needs to know."""

    model: keras.Model
    network: ClassNetwork
    calibration: Sequence[np.ndarray] = ()
    """Images (h, w, 3), uint8 RGB, that quantization takes its ranges from; about 32 of the training set."""

    @cached_property
    def graph(self) -> ProbabilityGraph:
        """The graph, traced once for all formats."""
        return probability_graph(self.model, self.network)

    def canvases(self) -> list[np.ndarray]:
        """Returns the calibration images on the canvas, each (1, H, W, 3), float32, 0 to 255.

        Raises:
          DataError: there are none.
        """
        if not self.calibration:
            raise DataError(
                "Quantization to int8 needs images to take its ranges from, about 32 of the training set. Received "
                "none; give calibration images, or export tflite or tflite_fp16, which need none."
            )
        return [self.graph.canvas_of(image) for image in self.calibration]

    def check(self, run: RunCanvas, *, precision: str, what: str) -> dict[str, float]:
        """Makes sure that an artifact computes what the network computes; returns its signal to noise in decibels.

        Raises:
          DataError: it does not at all: its output is of another shape, zeros, or no numbers.
          AccuracyError: it is not exact enough.
        """
        if self.calibration:
            pixels = self.canvases()[0]
        else:
            size = (1, *self.network.image_size, 3)
            pixels = np.random.default_rng(0).uniform(0, 255, size).round().astype(np.float32)
        expected = np.asarray(
            self.graph.on_canvas(batch_size=1, dtype="float32", is_fixed=True).function(tf.constant(pixels))
        )
        received = run(pixels)
        is_alike = received.shape == expected.shape
        decibels = signal_to_noise(expected, received) if is_alike else float("-inf")
        # A network of few training steps may give 0 everywhere, which has no signal.
        is_same = is_alike and np.allclose(received, expected, rtol=0.0, atol=_NOTHING)
        if decibels < _MIN_DECIBELS[precision] and not is_same:
            raise error_of_output(received, decibels)(
                f"{what} must give what the trained network gives, to {_MIN_DECIBELS[precision]:g} dB signal to noise. "
                f"Received probabilities of shape {received.shape} with {decibels:.1f} dB. The file is not kept; for "
                "int8 try a larger --calibration_images."
            )
        return {OUTPUT: decibels}


Write = Callable[[TrainedClassNetwork, Path], Decibels]


@dataclass(frozen=True, kw_only=True)
class ClassFormat:
    """One format: what its file is called, and how it is written."""

    name: str
    file: str
    """Name of the file or folder; {model} is the network's name."""
    write: Write
    """Writes a network to a path, and returns its signal to noise where it was measured."""
    precision: str = "float32"
    is_fixed: bool = False
    """Whether it takes images of the canvas's size alone."""

    def path(self, folder: Path, network: ClassNetwork) -> Path:
        """Returns where the format's file of a network is in a folder."""
        return folder / self.file.format(model=network.name)

    def files(self, network: ClassNetwork) -> list[str]:
        """Returns the names of all files of the format."""
        name = self.file.format(model=network.name)
        return [name, Path(name).with_suffix(".bin").name] if name.endswith(".xml") else [name]


def _write_saved_model(trained: TrainedClassNetwork, path: Path) -> Decibels:
    graph = trained.graph
    signatures = {
        "serving_default": graph.serve.get_concrete_function(),
        "serving_bytes": graph.serve_bytes.get_concrete_function(),
    }
    tf.saved_model.save(graph, str(path), signatures=signatures)
    return {}


def _write_frozen_graph(trained: TrainedClassNetwork, path: Path) -> Decibels:
    function = trained.graph.serve.get_concrete_function()
    # Outputs of a dictionary come in the order of their names.
    graph_def = constant_graph(function, sorted(function.structured_outputs))
    fileio.write_file(path, graph_def.SerializeToString(deterministic=True))
    return {}


def _write_tflite(trained: TrainedClassNetwork, path: Path, *, precision: str) -> Decibels:
    canvas = trained.graph.on_canvas(batch_size=1, dtype="uint8", is_fixed=True)
    # With variables, the file's weights would have to be set before it runs.
    constant = convert_variables_to_constants_v2(canvas.function)
    samples = trained.canvases() if precision == "int8" else []
    content = converted(RawHeads(constant, canvas.owner), precision=precision, samples=samples)
    foreign = sorted(name for name in operations(content) if name.startswith(("Flex", "CUSTOM")))
    if foreign:
        raise DataError(f"A TFLite file must have builtin operations alone. Received {', '.join(foreign)}.")
    model = read_model(content)
    name_ends(model, inputs=["images"], outputs=[OUTPUT])
    content = serialized(model)
    runner = TfliteRunner(content)
    decibels = trained.check(lambda pixels: runner.run(pixels)[0], precision=precision, what=path.name)
    fileio.write_file(path, content)
    return decibels


def _write_onnx(trained: TrainedClassNetwork, path: Path) -> Decibels:
    canvas = trained.graph.on_canvas(batch_size=None, dtype="float32", is_fixed=False)
    model = onnx_of(RawHeads(canvas.function, canvas.owner), outputs=(OUTPUT,))
    content = model.SerializeToString(deterministic=True)
    runner = OnnxRunner(content, outputs=(OUTPUT,))
    decibels = trained.check(lambda pixels: runner.run(pixels)[0], precision="float32", what=path.name)
    fileio.write_file(path, content)
    return decibels


def _write_openvino(trained: TrainedClassNetwork, path: Path, *, precision: str) -> Decibels:
    openvino = import_extra("openvino", purpose="Writing OpenVINO IR")
    canvas = trained.graph.on_canvas(batch_size=None, dtype="float32", is_fixed=False)
    model = openvino.convert_model(canvas.function)
    model.inputs[0].set_names({"images"})
    model.outputs[0].set_names({OUTPUT})
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / path.name
        openvino.save_model(model, str(made), compress_to_fp16=precision == "float16")
        runner = OpenvinoRunner(made, outputs=(OUTPUT,))
        decibels = trained.check(lambda pixels: runner.run(pixels)[0], precision=precision, what=path.name)
        # The weights first: a description alone would be no model.
        for suffix in (".bin", ".xml"):
            fileio.write_file(path.with_suffix(suffix), made.with_suffix(suffix).read_bytes())
    return decibels


def _tflite(name: str, suffix: str, precision: str) -> ClassFormat:
    return ClassFormat(
        name=name,
        file=f"{{model}}{suffix}.tflite",
        write=partial(_write_tflite, precision=precision),
        precision=precision,
        is_fixed=True,
    )


def _openvino(name: str, precision: str) -> ClassFormat:
    write = partial(_write_openvino, precision=precision)
    return ClassFormat(name=name, file=f"{{model}}_{name}.xml", write=write, precision=precision)


_ALL = (
    ClassFormat(name="saved_model", file="saved_model", write=_write_saved_model),
    ClassFormat(name="frozen", file="{model}_frozen.pb", write=_write_frozen_graph),
    _tflite("tflite", "", "float32"),
    _tflite("tflite_fp16", "_fp16", "float16"),
    _tflite("tflite_int8", "_int8", "int8"),
    ClassFormat(name="onnx", file="{model}.onnx", write=_write_onnx),
    _openvino("openvino", "float32"),
    _openvino("openvino_fp16", "float16"),
)
CLASS_FORMATS: dict[str, ClassFormat] = {each.name: each for each in _ALL}
"""Name → format, in the order in which they are written."""


def class_formats_of(options: FormatOptions, task: str) -> list[ClassFormat]:
    """Returns the formats of the options; `all` means those that such a network has.

    Raises:
      OptionsError: a format of detectors alone.
    """
    names = options.names(CLASS_FORMATS)
    unknown = [name for name in names if name not in CLASS_FORMATS]
    if unknown:
        raise OptionsError(
            f"formats of a {task} must be one or more of {', '.join(CLASS_FORMATS)}. Received {unknown[0]!r}, which "
            "detectors alone have.",
            option="formats",
        )
    return [CLASS_FORMATS[name] for name in names]
