"""End of a run: metrics, validation images, export, and the summary with the next command."""

import contextlib
import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
from absl import logging

from efficientdet_pipeline.console import print_next_command
from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.evaluation import write_metrics
from efficientdet_pipeline.inference.image_io import write_image
from efficientdet_pipeline.json_fields import number_field, object_field
from efficientdet_pipeline.models.weights import DESCRIPTION, TrainedWeights
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.runs.run_dir import RunFolder
from efficientdet_pipeline.tasks.task import LogLayout, TaskEvaluator, TaskSetup
from efficientdet_pipeline.training import checkpoint_io
from efficientdet_pipeline.training.progress import format_duration
from efficientdet_pipeline.training.reporting import Report, analyse_run
from efficientdet_pipeline.visualize.grid import contact_sheet
from tfrmod.counted import counted

IMAGES_DRAWN = 8


def finalize_run(
    options: TrainOptions,
    folder: RunFolder,
    setup: TaskSetup,
    network: keras.Model,
    evaluator: TaskEvaluator | None,
    *,
    report: Report | None = None,
    after_loading: Sequence[Callable[[Path], None]] = (),
) -> None:
    """Writes metrics, validation images and exports; after --mode=train, what compression has made of the kernels."""

    def load(checkpoint: Path) -> None:
        setup.load_weights(network, checkpoint / checkpoint_io.WEIGHTS)
        for call in after_loading:
            call(checkpoint)
        if options.compression.asked_for:
            _summarize_compression(options, folder, network)

    if evaluator is None:
        if options.compression.asked_for:
            load(chosen_checkpoint(folder)[1])
        logging.info("\nDone.")
        _log_paths(("checkpoint", folder.last), ("losses", folder.results), ("curves", folder.curves))
        print_next_command("--mode=export", f"--model_dir={folder.path}")
        return
    primary = setup.layout.primary
    name, chosen = chosen_checkpoint(folder, primary)
    load(chosen)
    marker = checkpoint_io.read_marker(chosen)
    if "metrics" not in marker:
        marker["metrics"] = evaluator().as_dict()
    epoch, measured = number_field(marker, "epoch"), object_field(marker, "metrics")
    metrics = {**measured, "checkpoint": name, "last": _last_row(folder, setup.layout)}
    write_metrics(folder.metrics, metrics, epoch)
    if options.evaluation.eval_name:
        write_metrics(folder.metrics.with_name(f"metrics_{options.evaluation.eval_name}.json"), metrics, epoch)
    picture = draw_validation(folder.pictures, evaluator)
    facts: dict[str, str | float] = {"checkpoint": f"the {name} checkpoint", "epoch": epoch}
    write_page = analyse_run(report, folder, evaluator, facts, options.evaluation.engine)
    exported: Mapping[str, Path] = {}
    if options.export.names():
        why = "" if name == "best" else f", because {primary} is undefined in all evaluations"
        logging.info("Exporting the %s checkpoint (epoch %d)%s.", name, epoch, why)
        trained = TrainedWeights(
            path=chosen / checkpoint_io.WEIGHTS, description=chosen / DESCRIPTION, run=folder, names_run=True
        )
        exported = setup.export(network, trained, folder.export_path)
    page = write_page()
    logging.info("\nDone: epoch %d is the %s of this run.\n%s\n", epoch, name, setup.format_table(measured))
    _log_paths(
        ("metrics", folder.metrics),
        ("every epoch", folder.results),
        ("curves", folder.curves),
        ("picture", picture),
        *([("report", page)] if page is not None else []),
        ("checkpoint", chosen),
        *exported.items(),
    )
    seconds = sum(float(row.get("seconds") or 0) for row in _rows(folder))
    line = setup.format_line(measured)
    logging.info("\n%s, %s of training, %s", line, format_duration(seconds), folder.path)
    if exported:
        _print_infer_command(next(iter(exported.values())))
    else:
        print_next_command("--mode=export", f"--model_dir={folder.path}")


def _summarize_compression(options: TrainOptions, folder: RunFolder, network: keras.Model) -> None:
    from efficientdet_pipeline.compression.summary import summarize, write_summary

    summary = summarize(network, options.compression.asked_for)
    write_summary(folder.compression, summary)
    logging.info("Compression: %s; by kernel in %s.", summary.sentence(), folder.compression)


def chosen_checkpoint(folder: RunFolder, primary: str = "AP") -> tuple[str, Path]:
    """Returns "best" or "last" and its checkpoint; "last" if no metric is defined or the best one is damaged.

    Raises:
      DataError: the run has no complete checkpoint.
    """
    best = checkpoint_io.find_checkpoint(folder.best)
    if best is not None and number_field(checkpoint_io.read_marker(best), primary, 0.0) >= 0:
        return "best", best
    last = checkpoint_io.find_checkpoint(folder.last)
    if last is None:
        raise DataError(f"The run {folder.path} has no complete checkpoint; train it again with --overwrite.")
    return "last", last


def log_finished_run(folder: RunFolder, options: TrainOptions) -> None:
    """Logs that the run is finished, and how to extend it."""
    last = checkpoint_io.find_checkpoint(folder.last)
    trained = (
        int(number_field(checkpoint_io.read_marker(last), "epoch"))
        if last is not None
        else options.optimizer.num_epochs
    )
    logging.info(
        "The run %s is finished after %s. A larger --num_epochs extends it%s, --overwrite restarts it.",
        folder.path,
        counted(trained, "epoch"),
        ", a larger --patience as well" if options.checkpointing.patience else "",
    )
    if (folder.export_path / "saved_model").exists():
        _print_infer_command(folder.export_path / "saved_model")


def draw_latest(pictures: Path, evaluator: TaskEvaluator, count: int) -> list[np.ndarray]:
    """Returns the first validation images as `TaskEvaluator.draw` does; the run's folder keeps the latest ones."""
    drawn = evaluator.draw(count)
    with contextlib.suppress(OSError):  # A full disk must not end the training here.
        pictures.mkdir(parents=True, exist_ok=True)
        write_image(pictures / "validation.png", contact_sheet(drawn, columns=2))
    return drawn


def draw_validation(pictures: Path, evaluator: TaskEvaluator) -> Path:
    """Draws ground truth beside predictions for the first validation images; returns the path of the contact sheet."""
    pictures.mkdir(parents=True, exist_ok=True)
    sheet = pictures / "validation.png"
    write_image(sheet, contact_sheet(evaluator.draw(IMAGES_DRAWN), columns=2))
    return sheet


def _last_row(folder: RunFolder, layout: LogLayout) -> dict[str, object]:
    """Returns the metrics of the last epoch in results.csv."""
    row = _rows(folder)[-1]
    return {name: json.loads(value) for name, value in row.items() if value and name in ("epoch", *layout.metrics)}


def _rows(folder: RunFolder) -> list[dict[str, str]]:
    with open(folder.results, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _log_paths(*paths: tuple[str, Path]) -> None:
    for what, path in paths:
        if path.exists():
            logging.info("%-12s  %s", what, path)


def _print_infer_command(saved_model: Path) -> None:
    print_next_command(
        "--mode=infer", f"--saved_model_dir={saved_model}", "--input_image=IMAGE.jpg", "--output_image_dir=detections"
    )
