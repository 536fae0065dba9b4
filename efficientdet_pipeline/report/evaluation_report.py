"""Report of `--mode=eval`, in the folder of the run for its own evaluation, else in a folder named by it."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from efficientdet_pipeline.console import command_line
from efficientdet_pipeline.data.record_images import RecordImages
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.evaluation import format_table, write_metrics
from efficientdet_pipeline.evaluation.evaluated_detector import EvaluatedPlace
from efficientdet_pipeline.evaluation.evaluation_file import SavedEvaluation
from efficientdet_pipeline.evaluation.instances import Instances
from efficientdet_pipeline.evaluation.metrics import metrics_of
from efficientdet_pipeline.options.evaluation import EvalOptions, EvaluationOptions
from efficientdet_pipeline.report.contents import EVALUATED, Command, ReportContents
from efficientdet_pipeline.report.evaluation_folder import (
    EvaluationFolder,
    Findings,
    analyse_evaluation,
    write_findings,
    write_pictures,
)
from efficientdet_pipeline.report.page import write_report
from efficientdet_pipeline.report.run_page import with_evaluation, write_run_page
from efficientdet_pipeline.runs.output_files import check_output_files, check_output_json, note_output_files
from efficientdet_pipeline.runs.run_dir import RunFolder
from tfrmod.counted import counted

_FILES = (
    *("metrics.json", "thresholds.yaml", "label_errors.csv", "label_errors.jpg", "confusion_matrix.png"),
    *("pr_curve.png", "f1_curve.png", "val_batch0_labels.jpg", "val_batch0_pred.jpg", "report"),
)


@dataclass(frozen=True, kw_only=True)
class EvaluationPlace:
    """Folder of the files of an evaluation."""

    folder: EvaluationFolder
    run: RunFolder | None
    """Run that contains the folder, if any."""
    is_run: bool
    """Whether the folder is that of the run, whose report is then updated."""

    def begin(self) -> None:
        """Checks that no unrelated file has one of our file names, and records ours before they are written.

        Raises:
          OptionsError: there is such a file.
        """
        if self.run is None:  # A run has a list of its files.
            note_output_files(
                self.folder.path, _FILES, check_output_files(self.folder.path, _FILES, option="eval_name")
            )


def evaluation_place(run: RunFolder | None, beside: Path, name: str, *, is_own: bool) -> EvaluationPlace:
    """Returns the folder for an evaluation.

    Args:
      run: run of the evaluated detector, if any.
      beside: folder of the detector or detections, if there is no run.
      name: of the evaluation.
      is_own: whether the run is evaluated on its own validation images, so that its report includes the evaluation.
    """
    if run is not None and is_own:
        return EvaluationPlace(folder=EvaluationFolder(run.path), run=run, is_run=True)
    base = run.path if run is not None else beside
    return EvaluationPlace(folder=EvaluationFolder(base / "evaluations" / name), run=run, is_run=False)


def write_evaluation_report(
    place: EvaluationPlace, findings: Findings, *, title: str, commands: Sequence[Command], warnings: Sequence[str] = ()
) -> Path:
    """Writes thresholds, label errors, figures and report of an evaluation; returns the path of the report."""
    write_findings(place.folder, findings)
    write_pictures(place.folder, findings, RecordImages(findings.saved.shards, findings.saved.numbers))
    if place.is_run and place.run is not None:
        return write_run_page(place.run, findings)
    names = ("metrics.json", "thresholds.yaml", "label_errors.csv")
    contents = ReportContents(
        title=title,
        facts_title=EVALUATED,
        commands=commands,
        warnings=list(warnings),
        links={name: f"../{name}" for name in names if (place.folder.path / name).is_file()},
    )
    return write_report(place.folder.report, with_evaluation(contents, findings))


def find_evaluation(saved: SavedEvaluation, options: EvaluationOptions, class_groups: str) -> Findings:
    """Returns the analysis of an evaluation with the given options."""
    groups = parse_class_groups(class_groups, saved.label_map, saved.instances)
    return analyse_evaluation(saved, engine=options.engine, class_groups=groups)


def is_finite(instances: Instances) -> bool:
    """Returns whether all detections are finite; warns if not, because the analysis is then skipped."""
    found = instances.found
    if np.isfinite(found.boxes_xywh).all() and np.isfinite(found.scores).all():
        return True
    logging.warning("Some detections are not finite: the network has diverged, so its errors are not analysed.")
    return False


def log_details(findings: Findings, *, intervals: bool, groups: bool) -> None:
    """Logs the confidence intervals, and the AP of class groups."""
    analysis = findings.analysis
    if intervals:
        lines = [f"{name:<6} {low:.3f} to {high:.3f}" for name, (low, high) in analysis.intervals.overall.items()]
        for class_id, each in analysis.intervals.per_class.items():
            low, high = each["AP"]
            lines.append(f"AP of {analysis.names[class_id]}: {low:.3f} to {high:.3f}")
        logging.info("95 %% confidence intervals, by bootstrap over the images:\n%s", "\n".join(lines))
    if groups:
        for part in (part for part in analysis.slices if part.kind == "classes"):
            objects = counted(part.num_objects, "object")
            logging.info("%s: AP %.3f, AP50 %.3f, %s", part.name, part.ap, part.ap50, objects)


def parse_class_groups(text: str, label_map: Mapping[int, str], instances: Instances) -> dict[str, list[int]]:
    """Returns {group: class ids} of `name=class,class;name=…`.

    Raises:
      OptionsError: the format is wrong, or a class is not evaluated.

    >>> parse_class_groups("cells=RBC,2", {1: "RBC", 2: "WBC"}, instances)
    {"cells": [1, 2]}
    """
    ids = {name: class_id for class_id, name in label_map.items()}
    known = {**{str(class_id): class_id for class_id in instances.class_ids}, **ids}
    groups: dict[str, list[int]] = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        name, equals, classes = part.partition("=")
        words = [word for word in map(str.strip, classes.split(",")) if word]
        unknown = [word for word in words if word not in known]
        if not equals or not name.strip() or not words or unknown:
            listed = ", ".join(ids) or ", ".join(known)
            raise OptionsError(
                f"class_groups must be groups of evaluated classes, name=class,class;name=class. Received {part!r}"
                f"{f', where {unknown[0]!r} is not a class' if unknown else ''}; the classes are {listed}.",
                option="class_groups",
            )
        groups[name.strip()] = [known[word] for word in words]
    return groups


def evaluation_places(
    options: EvalOptions, subject: EvaluatedPlace, *, is_own: bool, primary: str = "AP"
) -> tuple[EvaluationPlace, Path]:
    """Returns where the files go, and the one of the metrics.

    Args:
      options: of the mode.
      subject: where the evaluated lies.
      is_own: whether it is evaluated on the validation images of its run.
      primary: the metric that a metrics file of ours holds.
    """
    given = options.evaluation.eval_name
    beside = subject.path if subject.path.is_dir() else subject.path.parent
    if subject.is_export:
        beside = subject.path.absolute().parent
        place = evaluation_place(subject.run, beside, given or subject.path.stem, is_own=False)
        return place, place.folder.path / "metrics.json"
    name = given or "eval"
    place = evaluation_place(subject.run, beside, name, is_own=is_own and subject.names_run and not given)
    in_run = subject.run is not None and subject.names_run
    path = (subject.run.path if in_run and subject.run else beside) / f"metrics_{name}.json"
    check_output_json(path, {"epoch", primary}, option="eval_name")
    return place, path


def finish_evaluation(
    options: EvalOptions,
    saved: SavedEvaluation,
    name: str,
    place: EvaluationPlace,
    path: Path,
    *,
    epoch: float = -1,
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """Prints and writes metrics and report of an evaluation; returns the metrics."""
    findings = None
    if options.evaluation.analysis and is_finite(saved.instances):
        findings = find_evaluation(saved, options.evaluation, options.subject.class_groups)
        measured = findings.analysis.metrics
    else:
        measured = metrics_of(saved.instances, saved.label_map, engine=options.evaluation.engine)
    metrics = measured.as_dict()
    logging.info("%s\n%s", name, format_table(metrics))
    content = {**metrics, **saved.facts}
    if findings is not None:
        content["intervals"] = findings.analysis.intervals.overall
        log_details(findings, intervals=options.subject.ap_interval, groups=bool(options.subject.class_groups))
    if "milliseconds" in saved.facts:
        logging.info("Inference takes %.1f ms per image, without reading the image.", saved.facts["milliseconds"])
    try:
        if findings is not None or path.parent == place.folder.path:
            place.begin()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_metrics(path, content, epoch)
        logging.info("Written to %s", path)
        if findings is not None:
            again = Command("Evaluate again:", command_line(*sys.argv[1:]))
            page = write_evaluation_report(
                place, findings, title=f"Evaluation of {name}", commands=[again], warnings=warnings
            )
            logging.info("Report: %s", page)
    except OSError as error:
        # The metrics took minutes of computation and must not be lost because a folder is not writable.
        logging.warning(
            "The metrics are printed above but not saved: %s cannot be written (%s). To save them, "
            "copy the checkpoint to a folder of yours and name it by --path_ckpt.",
            *(path, error.strerror or error),
        )
    return metrics
