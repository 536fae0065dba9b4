"""Files that a training writes for people: figures, thresholds and the report of its run."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.data.image_descriptions import AugmentedImage
from efficientdet_pipeline.data.record_images import RecordImages
from efficientdet_pipeline.data.tfrecord_reader import index_records, read_record
from efficientdet_pipeline.doctor.issue import Issue
from efficientdet_pipeline.doctor.quick_check import quick_check
from efficientdet_pipeline.evaluation.class_evaluation import ClassEvaluation, write_class_evaluation
from efficientdet_pipeline.evaluation.evaluation_file import SavedEvaluation
from efficientdet_pipeline.options.evaluation import Engine
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.report.contents import Finding, Severity
from efficientdet_pipeline.report.evaluation_folder import (
    EvaluationFolder,
    analyse_evaluation,
    write_findings,
    write_pictures,
)
from efficientdet_pipeline.report.pictures import (
    LABELS,
    TRAIN_BATCH,
    batch_picture,
    labels_picture,
    write_batch_pictures,
)
from efficientdet_pipeline.report.run_page import write_recorded_findings, write_run_page
from efficientdet_pipeline.runs.run_dir import RunFolder
from efficientdet_pipeline.tasks.task import NetworkDescription
from tfrmod.example import decode_example

MAX_RECORDS = 2000
"""Maximum number of records whose boxes labels.jpg shows; larger data sets are sampled evenly."""
_SEVERITIES: tuple[Severity, ...] = ("note", "warning", "error")


class RunReport:
    """Writes the figures and the report of one training; see `training.reporting`."""

    def __init__(self) -> None:
        self._issues: list[Issue] = []

    def check_data(self, options: TrainOptions, shards: Shards, network: NetworkDescription) -> None:
        """Runs `quick_check` on the data, and keeps the issues for the report."""
        self._issues = quick_check(options, shards, network)

    def begin(
        self, run: RunFolder, files: Sequence[str], batch: Sequence[AugmentedImage], label_map: Mapping[int, str]
    ) -> None:
        """Writes labels.jpg, train_batch0.jpg and the issues of the data checks."""
        boxes, class_ids = _sampled_boxes(files)
        drawn = {LABELS: labels_picture(boxes, class_ids, label_map)}
        if batch:
            images = [each.pixels for each in batch]
            each_boxes, each_ids = [each.boxes for each in batch], [each.class_ids for each in batch]
            drawn[TRAIN_BATCH] = batch_picture(images, each_boxes, each_ids, label_map)
        write_batch_pictures(run.path, drawn)
        write_recorded_findings(run.report, [_finding(each) for each in self._issues])

    def analyse(self, run: RunFolder, saved: SavedEvaluation | ClassEvaluation, engine: Engine) -> Callable[[], Path]:
        """Writes thresholds and label errors of the evaluation; returns what writes pictures and page."""
        if isinstance(saved, ClassEvaluation):
            by_class = saved
            write_class_evaluation(EvaluationFolder(run.path).by_class, by_class)
            return lambda: write_run_page(run, by_class)
        folder, findings = EvaluationFolder(run.path), analyse_evaluation(saved, engine=engine)
        write_findings(folder, findings)

        def write() -> Path:
            write_pictures(folder, findings, RecordImages(saved.shards, saved.numbers))
            return write_run_page(run, findings)

        return write


def _sampled_boxes(files: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns boxes (n, 4) from 0 to 1 and class ids (n,) of up to `MAX_RECORDS` records."""
    index = index_records(sorted(files))
    chosen = np.unique(np.linspace(0, len(index) - 1, min(MAX_RECORDS, len(index))).astype(int))
    boxes, class_ids = [], []
    for number in chosen.tolist():
        image = decode_example(read_record(index, number))
        size = np.array([image.height or 1, image.width or 1] * 2, np.float64)
        boxes += [np.array(each.box) / size for each in image.objects]
        class_ids += [each.class_id for each in image.objects]
    return np.array(boxes).reshape(-1, 4), np.array(class_ids, np.int64)


def _finding(issue: Issue) -> Finding:
    named = ", ".join(issue.files[:3])
    detail = " ".join(part for part in (issue.why, issue.detail, f"For example {named}." if named else "") if part)
    return Finding(_SEVERITIES[issue.severity], f"{issue.count:,} × {issue.title}", detail, issue.remedy)
