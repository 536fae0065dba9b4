"""Table of modes: the options class and the command module of each.

A mode is a line in this table, a dataclass of options and a module in this
package with `run(options, sources, hparams)`. Both are imported on first use to
keep `--help` fast: TensorFlow alone takes seconds to load.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from efficientdet_pipeline.options.general import ModeOptions

if TYPE_CHECKING:
    from efficientdet_pipeline.errors import ExitCode


@dataclass(frozen=True)
class Mode:
    """One mode of the command line."""

    options: str
    """Module and class of its options, in efficientdet_pipeline.options."""
    command: str
    """Module in efficientdet_pipeline.commands."""
    summary: str

    def options_class(self) -> type[ModeOptions]:
        """Returns the dataclass of the mode's options."""
        module, name = self.options.split(":")
        return getattr(importlib.import_module(f"efficientdet_pipeline.options.{module}"), name)

    def runner(self) -> "Callable[..., ExitCode | None]":
        """Returns the mode's `run`; imports its module."""
        return importlib.import_module(f"efficientdet_pipeline.commands.{self.command}").run


MODES: dict[str, Mode] = {
    "traineval": Mode(
        "training:TrainOptions",
        "train",
        "convert, train, evaluate and export: annotated images to a deployable detector",
    ),
    "train": Mode("training:TrainOptions", "train", "train only"),
    "tune": Mode("tune:TuneOptions", "tune", "search hyperparameters for the highest AP, with pruning of trials"),
    "eval": Mode(
        "evaluation:EvalOptions", "evaluate", "evaluate a checkpoint, an export or detections (COCO and VOC metrics)"
    ),
    "report": Mode("report:ReportOptions", "report", "write the report of a run, or serve it during training"),
    "compare": Mode("report:CompareOptions", "compare", "compare runs: metrics, errors, curves, images"),
    "dataset": Mode("convert:ConvertOptions", "dataset", "convert annotated images to TFRecord shards"),
    "verify": Mode("verify:VerifyOptions", "verify", "verify the checksums of all records of shards"),
    "weights": Mode("weights:WeightsOptions", "weights", "list, download and verify pretrained weights"),
    "doctor": Mode("doctor:DoctorOptions", "doctor", "check a dataset, rank its issues by severity and suggest fixes"),
    "benchmark": Mode(
        "benchmark:BenchmarkOptions",
        "benchmark",
        "measure the speed of training, or of a detector",
    ),
    "inspect": Mode(
        "inspect:InspectOptions", "inspect", "draw the images of shards, or print parameters and FLOPs of a network"
    ),
    "export": Mode(
        "export:ExportOptions",
        "export",
        "export a checkpoint: SavedModel, frozen graph, TFLite, ONNX, OpenVINO",
    ),
    "infer": Mode("infer:InferOptions", "infer", "detect objects in images or a video with a checkpoint or an export"),
    "video": Mode("infer:VideoOptions", "video", "write a video with the detections of a video, camera or stream"),
    "serve": Mode("serve:ServeOptions", "serve", "serve detections over HTTP, with a demo page"),
    "classify": Mode("imagenet:ClassifyOptions", "classify", "classify images with an ImageNet checkpoint"),
    "features": Mode("imagenet:FeaturesOptions", "features", "extract EfficientNet features of images"),
}
DEFAULT_MODE = "traineval"
