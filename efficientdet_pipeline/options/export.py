"""Options of --mode=export and freeze_model.py, and of the export at the end of a training."""

from collections.abc import Collection
from dataclasses import dataclass

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.evaluation import CheckpointOptions
from efficientdet_pipeline.options.general import ModeOptions, RunOptions
from efficientdet_pipeline.options.model import ModelOptions
from efficientdet_pipeline.options.schema import Options, check, check_choice, flatten, option
from efficientdet_pipeline.system import is_installed

EXPORT_FORMATS: dict[str, str] = {
    "saved_model": "TensorFlow SavedModel with pre- and post-processing",
    "frozen": "the same as a frozen graph",
    "tflite": "TFLite float32, raw outputs",
    "tflite_fp16": "float16",
    "tflite_int8": "int8",
    "tflite_int16x8": "int8 weights and int16 activations",
    "tflite_nms": "TFLite float32 with non-maximum suppression and MediaPipe metadata",
    "tflite_nms_fp16": "float16",
    "tflite_nms_int8": "int8",
    "onnx": "ONNX, raw outputs",
    "onnx_nms": "ONNX with non-maximum suppression",
    "openvino": "OpenVINO IR float32, raw outputs",
    "openvino_fp16": "float16",
    "openvino_bf16": "float16, calculated in bfloat16 where the processor can",
    "openvino_int8": "int8",
}
"""Name → description for the help; `export/formats.py` has a writer and a loader for each."""
FORMAT_PACKAGES: dict[str, tuple[str, ...]] = {
    "onnx": ("tf2onnx", "onnxruntime"),
    "onnx_nms": ("tf2onnx", "onnx"),
    "openvino": ("openvino",),
    "openvino_fp16": ("openvino",),
    "openvino_bf16": ("openvino",),
    "openvino_int8": ("openvino", "nncf"),
}
"""Format → optional packages that writing needs."""
DEFAULT_FORMATS = "saved_model,frozen"
ALL = "all"
NONE = "none"


@dataclass(frozen=True, kw_only=True)
class FormatOptions(Options):
    """Export formats."""

    formats: str = option(
        DEFAULT_FORMATS,
        "Comma-separated export formats, or all that the network has and installed packages can write; after a "
        "training also none. "
        + "; ".join(f"{name}: {text}" for name, text in EXPORT_FORMATS.items())
        + ". docs/exports.md describes them.",
    )
    calibration_images: int = option(32, "Number of training images for the calibration of int8 and int16x8 formats.")

    def __post_init__(self) -> None:
        """Checks the names and the number of images."""
        super().__post_init__()
        for name in self.names():
            check_choice("formats", name, tuple(EXPORT_FORMATS))
        count = self.calibration_images
        check(count >= 1, "calibration_images", count, "at least 1", "try 32")

    def names(self, supported: Collection[str] = EXPORT_FORMATS) -> list[str]:
        """Returns the names of the formats in the order of the table; empty for "none".

        Args:
          supported: the formats that the network has; `all` means those of them whose packages are installed.

        Raises:
          OptionsError: no format is named.
        """
        given = [word.strip() for word in self.formats.split(",") if word.strip()]
        if not given:
            raise OptionsError(
                f"formats must name one or more of {', '.join(EXPORT_FORMATS)}. Received {self.formats!r}; try "
                f"{DEFAULT_FORMATS}.",
                option="formats",
            )
        if given == [NONE]:
            return []
        if ALL in given:
            return [name for name in EXPORT_FORMATS if name in given or (name in supported and not _lacks(name))]
        return sorted(set(given), key=lambda name: [*EXPORT_FORMATS, name].index(name))

    def left_out(self, supported: Collection[str] = EXPORT_FORMATS) -> dict[str, str]:
        """Returns what `all` leaves out of the formats that the network has: name → the package that is missing."""
        if ALL not in map(str.strip, self.formats.split(",")):
            return {}
        written = self.names(supported)
        return {name: _lacks(name) for name in EXPORT_FORMATS if name in supported and name not in written}

    def packages(self) -> dict[str, tuple[str, ...]]:
        """Returns the optional packages that the formats need, by format."""
        return {name: FORMAT_PACKAGES[name] for name in self.names() if name in FORMAT_PACKAGES}

    @property
    def is_quantized(self) -> bool:
        """Returns whether one of the formats is int8, so that calibration images are needed."""
        return any(name.endswith(("int8", "int16x8")) for name in self.names())

    def without_effect(self) -> dict[str, str]:
        """Returns calibration_images if nothing is quantized."""
        return {} if self.is_quantized else {"calibration_images": "no format of --formats is quantized to int8"}


def _lacks(name: str) -> str:
    """Returns a package that a format needs and that is not installed; empty if none."""
    return next((package for package in FORMAT_PACKAGES.get(name, ()) if not is_installed(package)), "")


@dataclass(frozen=True, kw_only=True)
class GateOptions(Options):
    """Accuracy gate of exported artifacts."""

    gate: bool = option(
        True,
        "Measure the AP of every artifact in its own runtime on validation images, compare it with the checkpoint's, "
        "and fail "
        "with exit code 79 if one loses more than max_ap_drop. Artifacts that fail are deleted.",
    )
    max_ap_drop: float | None = option(
        None, "Maximum loss of AP (0 to 1) against the checkpoint. Default: 0.005, and 0.01 for int8 and int16x8."
    )
    gate_images: int = option(
        100, "Number of validation images for the gate, chosen so that rare classes occur. 0: all."
    )
    val_file_pattern: str = option(
        "",
        "Glob of validation shards, or several, comma-separated. Default: those of the checkpoint's run.",
        path="globs",
    )
    calibration_file_pattern: str = option(
        "",
        "Glob of shards with calibration images, or several, comma-separated. Default: the training "
        "shards of the checkpoint's run.",
        path="globs",
    )
    quant_debug: bool = option(
        False,
        "If tflite_int8 loses more AP than allowed, search the smallest set of layers to keep in float, and write it "
        "to "
        "quantization.yaml beside the artifacts.",
    )
    quant_recipe: str = option(
        "",
        "quantization.yaml of an earlier --quant_debug, with the layers that int8 TFLite keeps in float.",
        path="path",
    )

    def __post_init__(self) -> None:
        """Checks the limit and the number of images."""
        super().__post_init__()
        drop, count = self.max_ap_drop, self.gate_images
        check(drop is None or 0.0 <= drop <= 1.0, "max_ap_drop", drop, "between 0 and 1", "try 0.01")
        check(count >= 0, "gate_images", count, "0 or more", "0 measures on all validation images")
        if self.quant_debug and not self.gate:
            raise OptionsError(
                "quant_debug needs the AP that the gate measures. Received --quant_debug with "
                "--nogate; leave one of them out.",
                option="quant_debug",
            )

    def without_effect(self) -> dict[str, str]:
        """Returns the options of the gate if it is disabled."""
        names = () if self.gate else ("max_ap_drop", "gate_images", "val_file_pattern")
        return dict.fromkeys(names, "--nogate disables the gate")


@dataclass(frozen=True, kw_only=True)
class ExportOptions(ModeOptions):
    """Export."""

    run: RunOptions
    checkpoint: CheckpointOptions
    model: ModelOptions
    formats: FormatOptions
    accuracy: GateOptions

    path_output: str = option(
        "",
        "Folder for the export. Default: export in the run's folder.",
        path="path",
    )
    serving_dir: str = option(
        "",
        "Also write a SavedModel for TensorFlow Serving into a new version folder below this one, with warm-up "
        "requests. The folder's name is the model's name on the server.",
        path="path",
    )
    serving_batch_size: int = option(0, "Fixed number of images per request of serving_dir. 0: any.")
    intended_use: str = option("", "Intended use of the model, for the model card.")
    model_license: str = option("", "License of the weights, for the model card.")
    model_name_: str = option("", "Alias of model_name, as in the former freeze script.")

    def __post_init__(self) -> None:
        """Checks the batch size of the served model."""
        super().__post_init__()
        size = self.serving_batch_size
        check(size >= 0, "serving_batch_size", size, "0 or more", "0 takes any number of images")
        names = self.formats.names()
        check(bool(names), "formats", self.formats.formats, "one format or more", f"try {DEFAULT_FORMATS}")

    @property
    def quantizes_tflite(self) -> bool:
        """Whether an int8 TFLite file is written, whose layers a recipe can keep in float."""
        return not {"tflite_int8", "tflite_nms_int8"}.isdisjoint(self.formats.names())

    def without_effect(self) -> dict[str, str]:
        """Returns the options of files that are not written."""
        found: dict[str, str] = {}
        if not self.serving_dir and self.serving_batch_size:
            found["serving_batch_size"] = "--serving_dir is not given"
        if not self.quantizes_tflite:
            reason = "no int8 TFLite file is written"
            found |= {name: reason for name in ("quant_debug", "quant_recipe") if flatten(self.accuracy)[name]}
        if not self.formats.is_quantized and self.accuracy.calibration_file_pattern:
            found["calibration_file_pattern"] = "no format of --formats is quantized to int8"
        return found
