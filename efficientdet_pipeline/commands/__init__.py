"""Table of modes: the options class and the command module of each.

A mode is a line in this table, a dataclass of options and a module in this
package with `run(options, sources, hparams)`. Both are imported on first use, because
TensorFlow alone takes seconds to load and `--help` must not wait for it.
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
        """Returns the mode's `run`, importing what it needs."""
        return importlib.import_module(f"efficientdet_pipeline.commands.{self.command}").run


MODES: dict[str, Mode] = {
    "traineval": Mode(
        "training:TrainOptions",
        "train",
        "convert, train, evaluate and export: annotated images to a deployable detector",
    ),
    "train": Mode("training:TrainOptions", "train", "train only"),
    "tune": Mode("tune:TuneOptions", "tune", "search for the options of the highest AP, by trainings with early ends"),
    "eval": Mode(
        "evaluation:EvalOptions", "evaluate", "evaluate a checkpoint, an export or detections (COCO and VOC metrics)"
    ),
    "report": Mode("report:ReportOptions", "report", "write the page of a run, or show it while the run trains"),
    "compare": Mode("report:CompareOptions", "compare", "set runs side by side: numbers, errors, curves, images"),
    "dataset": Mode("convert:ConvertOptions", "dataset", "convert annotated images to TFRecord shards"),
    "verify": Mode("verify:VerifyOptions", "verify", "verify the checksums of all records of shards"),
    "weights": Mode(
        "weights:WeightsOptions", "weights", "list pretrained weights, fetch and verify them, or say how to get them"
    ),
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
    "video": Mode("infer:VideoOptions", "video", "draw the detections of a video, camera or stream into a video"),
    "serve": Mode("serve:ServeOptions", "serve", "answer HTTP requests with detections, with a page to try them"),
    "classify": Mode(
        "imagenet:ClassifyOptions", "classify", "print the best classes of images, by an ImageNet checkpoint"
    ),
    "features": Mode("imagenet:FeaturesOptions", "features", "write the features that an EfficientNet sees in images"),
}
DEFAULT_MODE = "traineval"
