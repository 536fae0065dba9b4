"""Export formats: the table used for writing, loading, messages and help."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from efficientdet.any_detector import AnyDetectorConfig
from efficientdet.detectors.config import DetectorParts

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.export.frozen_graph import write_frozen_graph
from efficientdet_pipeline.export.onnx_model import write_onnx, write_onnx_with_nms
from efficientdet_pipeline.export.openvino_ir import write_openvino
from efficientdet_pipeline.export.saved_model import write_saved_model
from efficientdet_pipeline.export.tflite import CALIBRATED, write_tflite
from efficientdet_pipeline.export.tflite_postprocess import write_post_processed
from efficientdet_pipeline.export.trained_detector import TrainedDetector
from efficientdet_pipeline.inference.onnx_loader import onnx_predictor
from efficientdet_pipeline.inference.openvino_loader import openvino_predictor
from efficientdet_pipeline.inference.predictor import Predictor, frozen_graph_predictor, saved_model_predictor
from efficientdet_pipeline.inference.tflite_loader import tflite_predictor
from efficientdet_pipeline.options.export import FormatOptions

Write = Callable[[TrainedDetector, Path], object]
Load = Callable[[Path, AnyDetectorConfig], Predictor]


@dataclass(frozen=True, kw_only=True)
class ExportFormat:
    """An export format: file name, writer and loader."""

    name: str
    """Name of the format."""
    file: str
    """Name of the file or folder; {model} is replaced by the network's name."""
    extra: str = ""
    """The extra of this distribution that writing and loading need; empty if none."""
    write: Write
    """Writes a detector to a path."""
    load: Load | None
    """Returns a predictor in the format's own runtime; None if this program cannot run the format."""
    is_quantized: bool = False
    """Whether calibration images are needed."""
    is_served: bool = False
    """Whether it is written from `TrainedDetector.served`."""
    is_coarse: bool = False
    """Whether its outputs have too few digits for decoded boxes, as detectors built from parts give them."""
    suppresses_like: str = ""
    """For a format with non-maximum suppression: the format of the same network without it."""

    def path(self, folder: Path, config: AnyDetectorConfig) -> Path:
        """Returns the path of the format's file in a folder."""
        return folder / self.file.format(model=config.name)

    def files(self, config: AnyDetectorConfig) -> list[str]:
        """Returns the names of all files of the format."""
        name = self.file.format(model=config.name)
        return [name, Path(name).with_suffix(".bin").name] if name.endswith(".xml") else [name]


def _write_saved_model(detector: TrainedDetector, path: Path) -> None:
    write_saved_model(detector.served, path)


def _write_frozen_graph(detector: TrainedDetector, path: Path) -> None:
    write_frozen_graph(detector.served, path)


def _write_tflite_with_nms(detector: TrainedDetector, path: Path, *, precision: str) -> None:
    raw = TFLITE[precision].path(path.parent, detector.config)
    is_there = raw.is_file()
    if not is_there:
        _write_tflite(detector, raw, precision=precision)
    write_post_processed(detector, raw, path)
    if not is_there:
        raw.unlink()


def _load_saved_model(path: Path, config: AnyDetectorConfig) -> Predictor:
    del config  # The graph contains everything.
    return saved_model_predictor(path)


def _load_frozen_graph(path: Path, config: AnyDetectorConfig) -> Predictor:
    del config
    return frozen_graph_predictor(path)


def _write_tflite(detector: TrainedDetector, path: Path, *, precision: str) -> dict[str, float]:
    if precision == "int8" and detector.learnt_ranges is not None:
        from efficientdet_pipeline.export.tflite_learnt import write_learnt_int8

        return write_learnt_int8(detector, path, detector.learnt_ranges)
    layers = detector.float_layers if precision == "int8" else ()
    return write_tflite(detector, path, precision=precision, float_layers=layers)


def _tflite(name: str, suffix: str, precision: str) -> ExportFormat:
    return ExportFormat(
        name=name,
        file=f"{{model}}{suffix}.tflite",
        write=partial(_write_tflite, precision=precision),
        load=tflite_predictor,
        is_quantized=precision in CALIBRATED,
        is_coarse=precision in CALIBRATED,
    )


TFLITE = {
    "float32": _tflite("tflite", "", "float32"),
    "float16": _tflite("tflite_fp16", "_fp16", "float16"),
    "int8": _tflite("tflite_int8", "_int8", "int8"),
    "int16x8": _tflite("tflite_int16x8", "_int16x8", "int16x8"),
}
"""Precision → the format with raw outputs."""


def _tflite_with_nms(precision: str) -> ExportFormat:
    raw = TFLITE[precision]
    return ExportFormat(
        name=raw.name.replace("tflite", "tflite_nms"),
        file=raw.file.replace(".tflite", "_nms.tflite"),
        write=partial(_write_tflite_with_nms, precision=precision),
        load=tflite_predictor,
        is_quantized=raw.is_quantized,
        is_coarse=raw.is_coarse,
        suppresses_like=raw.name,
    )


def _openvino(name: str, precision: str) -> ExportFormat:
    return ExportFormat(
        name=name,
        file=f"{{model}}_{name}.xml",
        extra="openvino",
        write=partial(write_openvino, precision=precision),
        load=openvino_predictor,
        is_quantized=precision == "int8",
        is_coarse=precision in ("int8", "bfloat16"),
    )


_ALL = (
    ExportFormat(
        name="saved_model", file="saved_model", write=_write_saved_model, load=_load_saved_model, is_served=True
    ),
    ExportFormat(
        name="frozen", file="{model}_frozen.pb", write=_write_frozen_graph, load=_load_frozen_graph, is_served=True
    ),
    *TFLITE.values(),
    *map(_tflite_with_nms, ("float32", "float16", "int8")),
    ExportFormat(name="onnx", file="{model}.onnx", extra="onnx", write=write_onnx, load=onnx_predictor),
    ExportFormat(name="onnx_nms", file="{model}_nms.onnx", extra="onnx", write=write_onnx_with_nms, load=None),
    _openvino("openvino", "float32"),
    _openvino("openvino_fp16", "float16"),
    _openvino("openvino_bf16", "bfloat16"),
    _openvino("openvino_int8", "int8"),
)
FORMATS: dict[str, ExportFormat] = {each.name: each for each in _ALL}
"""Name → format, in writing order."""


TENSORFLOW_FORMATS = ("saved_model", "frozen")
"""Formats of TensorFlow's operations, of any task: they compute what the evaluated network computes, with the thread
settings of the process."""

PARTS_FORMATS = tuple(
    name for name, each in FORMATS.items() if not (each.is_coarse or each.suppresses_like or each.load is None)
)
"""Formats of detectors built from parts: coarse outputs cannot hold decoded boxes, and suppression inside needs
anchors."""


FORMATS_WITH_MAP = ("saved_model", "frozen", "tflite", "tflite_fp16")
"""Formats of detectors with the head segmentation: the others have the outputs of boxes alone."""


def supported_formats(config: AnyDetectorConfig) -> tuple[str, ...]:
    """Returns the names of the formats that a detector has."""
    if isinstance(config, DetectorParts):
        return PARTS_FORMATS
    return FORMATS_WITH_MAP if "segmentation" in config.heads else tuple(FORMATS)


def formats_of_detector(options: FormatOptions, config: AnyDetectorConfig) -> list[ExportFormat]:
    """Returns the formats of the options, in the order of the table; `all` means those that the detector has.

    Raises:
      OptionsError: the detector does not have a format.
    """
    supported = supported_formats(config)
    names = options.names(supported)
    for name in names:
        if name not in supported:
            kind = "built from parts" if isinstance(config, DetectorParts) else "with the head segmentation"
            raise OptionsError(
                f"formats of a detector {kind} must be of {', '.join(supported)}. Received {name!r}; leave it out.",
                option="formats",
            )
    return [FORMATS[name] for name in names]


def formats_of(names: Sequence[str]) -> list[ExportFormat]:
    """Returns the formats with these names, in the order of the table.

    Raises:
      OptionsError: a name is unknown, or there are none.
    """
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        received = repr(unknown[0]) if unknown else "none"
        raise OptionsError(
            f"formats must be one or more of {', '.join(FORMATS)}. Received {received}.", option="formats"
        )
    return [each for name, each in FORMATS.items() if name in names]
