"""The modes: what a user can ask for, and the page that answers.

A mode is a line in this table, a dataclass of options and a page beside this
one with `run(options, sources)`. Both are imported on first use, because
TensorFlow alone takes seconds to load and `--help` must not wait for it.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Mode:
    """One mode of the command line."""

    options: str
    """Page and class of its options, under efficientdet_pipeline.options."""
    command: str
    """Page under efficientdet_pipeline.commands."""
    summary: str

    def options_class(self) -> type:
        """Returns the dataclass of the mode's options."""
        page, name = self.options.split(":")
        return getattr(importlib.import_module(f"efficientdet_pipeline.options.{page}"), name)

    def runner(self) -> Callable[..., Any]:
        """Returns the mode's `run`, importing what it needs."""
        return importlib.import_module(f"efficientdet_pipeline.commands.{self.command}").run


MODES: dict[str, Mode] = {
    "traineval": Mode("training:TrainOptions", "train", "photos in, trained, evaluated and exported detector out"),
    "train": Mode("training:TrainOptions", "train", "train only"),
    "eval": Mode("evaluation:EvalOptions", "evaluate", "COCO metrics of a checkpoint on shards"),
    "dataset": Mode("convert:ConvertOptions", "dataset", "photos to TFRecord shards only"),
    "verify": Mode("verify:VerifyOptions", "verify", "read shards to the last byte: are they what was written?"),
    "doctor": Mode("doctor:DoctorOptions", "doctor", "what is wrong with the data, ranked by harm, and what mends it"),
    "benchmark": Mode("benchmark:BenchmarkOptions", "benchmark", "how fast a training would be, and what it waits for"),
    "inspect": Mode("inspect:InspectOptions", "inspect", "draw what is in the shards, or print what a network costs"),
    "export": Mode("export:ExportOptions", "export", "a checkpoint to a SavedModel and a frozen graph"),
    "infer": Mode("infer:InferOptions", "infer", "draw detections on photos, from a checkpoint or an export"),
}
DEFAULT_MODE = "traineval"
