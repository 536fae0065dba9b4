"""Figures and report of a training; errors in them are warnings and never end the training."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from absl import logging

from efficientdet_pipeline.console import command_line
from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.data.image_descriptions import AugmentedImage
from efficientdet_pipeline.errors import error_message
from efficientdet_pipeline.evaluation.class_evaluation import ClassEvaluation
from efficientdet_pipeline.evaluation.evaluation_file import SavedEvaluation
from efficientdet_pipeline.options.evaluation import Engine
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.runs.run_dir import RunFolder
from efficientdet_pipeline.tasks.task import NetworkDescription, TaskEvaluator, TrainingInput

T = TypeVar("T")
BATCH_IMAGES = 16
"""Number of drawn images of the first training batch."""


class Report(Protocol):
    """Writer of figures and report of a run; implemented in a higher layer, called by the training."""

    def check_data(self, options: TrainOptions, shards: Shards, network: NetworkDescription) -> object:
        """Logs issues of the training data; raises DataError if nothing could be learnt."""

    def begin(
        self, run: RunFolder, files: Sequence[str], batch: Sequence[AugmentedImage], label_map: Mapping[int, str]
    ) -> None:
        """Draws the annotations of the training shards, and the first batch."""

    def analyse(self, run: RunFolder, saved: SavedEvaluation | ClassEvaluation, engine: Engine) -> Callable[[], Path]:
        """Writes what the export needs of an evaluation, and returns what writes its pictures and the page."""


def draw_training_data(
    report: Report | None, run: RunFolder, batches: TrainingInput, label_map: Mapping[int, str]
) -> None:
    """Draws the annotations and the first batch before the first step of a run."""
    first_images = batches.first_images
    if report is None or first_images is None:
        return
    with_warning(
        "The figures of the training data",
        lambda: report.begin(run, batches.files, first_images(BATCH_IMAGES), label_map),
    )


def analyse_run(
    report: Report | None, run: RunFolder, evaluator: TaskEvaluator, facts: Mapping[str, str | float], engine: Engine
) -> Callable[[], Path | None]:
    """Writes the thresholds of the evaluated checkpoint, for the export; returns a function that writes the report.

    Args:
      report: None for no report.
      run: folder of the run.
      evaluator: with the evaluated weights.
      facts: "checkpoint" and "epoch" of them.
      engine: the engine that computes the COCO metrics.
    """
    if report is None:
        return lambda: None

    def begin() -> Callable[[], Path | None]:
        saved = evaluator.saved({**facts, "data": "its validation images"})
        return (lambda: None) if saved is None else report.analyse(run, saved, engine)

    write = with_warning("The analysis of the evaluation", begin)
    if write is None:
        return lambda: None
    return lambda: with_warning("The report", write)


def with_warning(what: str, work: Callable[[], T]) -> T | None:
    """Returns the result of `work`; if it fails, logs a warning and returns None."""
    began = time.monotonic()
    try:
        return work()
    except Exception as error:
        logging.warning(
            "%s cannot be written: %s The run is complete without it; `%s` writes the report.",
            what,
            error_message(error),
            command_line("--mode=report"),
        )
        return None
    finally:
        logging.debug("%s: %.2f s", what, time.monotonic() - began)
