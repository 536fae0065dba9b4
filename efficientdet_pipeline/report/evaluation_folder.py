"""Files of an evaluation: thresholds, label errors, figures, boxes, and the contents of its report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from efficientdet_pipeline.data.record_images import RecordImages
from efficientdet_pipeline.doctor.label_error_files import label_errors_of, write_label_errors
from efficientdet_pipeline.doctor.label_errors import LabelErrors
from efficientdet_pipeline.evaluation.analysis import Analysis, analyse
from efficientdet_pipeline.evaluation.class_evaluation import FILE_NAME as BY_CLASS
from efficientdet_pipeline.evaluation.evaluation_file import FILE_NAME as SAVED
from efficientdet_pipeline.evaluation.evaluation_file import SavedEvaluation, write_evaluation
from efficientdet_pipeline.evaluation.instances import Instances
from efficientdet_pipeline.evaluation.thresholds import FILE_NAME as THRESHOLDS
from efficientdet_pipeline.evaluation.thresholds import write_best_thresholds
from efficientdet_pipeline.inference.results import ImageDetections
from efficientdet_pipeline.options.evaluation import Engine
from efficientdet_pipeline.options.infer import MIN_SCORE
from efficientdet_pipeline.report.contents import LabelErrorRow
from efficientdet_pipeline.report.pictures import (
    MAX_TILES,
    VAL_LABELS,
    VAL_PREDICTIONS,
    batch_picture,
    jpeg,
    write_batch_pictures,
    write_evaluation_pictures,
)
from efficientdet_pipeline.visualize.grid import contact_sheet, draw_comparison

LABEL_ERRORS = "label_errors.jpg"
MAX_SUSPECTS = 8
"""Maximum number of drawn images with likely label errors."""
MAX_LABEL_ERRORS = 100
"""Maximum number of label errors in the report; label_errors.csv has all."""


@dataclass(frozen=True)
class EvaluationFolder:
    """Paths of the files; the folder of a run is also such a folder."""

    path: Path

    @property
    def thresholds(self) -> Path:
        """Score thresholds of the best F1, for inference."""
        return self.path / THRESHOLDS

    @property
    def label_errors(self) -> Path:
        """Boxes that are likely labelled wrongly."""
        return self.path / "label_errors.csv"

    @property
    def report(self) -> Path:
        """Folder of the report."""
        return self.path / "report"

    @property
    def saved(self) -> Path:
        """Both sides of the evaluation of a detector."""
        return self.report / SAVED

    @property
    def by_class(self) -> Path:
        """The evaluation of a segmentation or classification."""
        return self.report / BY_CLASS


@dataclass(frozen=True)
class Findings:
    """An evaluation, its analysis, and its likely label errors."""

    saved: SavedEvaluation
    analysis: Analysis
    label_errors: LabelErrors

    @property
    def rows(self) -> list[LabelErrorRow]:
        """Returns the label errors, alternating between types, the worst first."""
        by_kind = [
            [LabelErrorRow(code, each.file, each.description, each.rank) for each in self.label_errors.worst(code)]
            for code in sorted(self.label_errors.by_code)
        ]
        longest = max(map(len, by_kind), default=0)
        in_turn = [rows[place] for place in range(longest) for rows in by_kind if place < len(rows)]
        return in_turn[:MAX_LABEL_ERRORS]

    @property
    def num_label_errors(self) -> int:
        """Returns the number of label errors."""
        return sum(len(self.label_errors.worst(code)) for code in self.label_errors.by_code)


def analyse_evaluation(
    saved: SavedEvaluation, *, engine: Engine = "auto", class_groups: Mapping[str, Sequence[int]] | None = None
) -> Findings:
    """Returns the analysis and the likely label errors of an evaluation."""
    analysis = analyse(saved.instances, saved.label_map, engine=engine, class_groups=class_groups)
    return Findings(saved, analysis, label_errors_of(saved.instances, analysis.names, saved.file_names))


def write_findings(folder: EvaluationFolder, findings: Findings) -> None:
    """Writes thresholds, label errors, ground truth and detections, each file atomically."""
    folder.path.mkdir(parents=True, exist_ok=True)
    write_best_thresholds(folder.thresholds, findings.analysis.thresholds, default=MIN_SCORE)
    write_label_errors(folder.label_errors, findings.label_errors)
    write_evaluation(folder.saved, findings.saved)


def write_pictures(folder: EvaluationFolder, findings: Findings, read_image: RecordImages) -> list[Path]:
    """Writes confusion matrix, curves and the first images with ground truth and detections; returns the paths."""
    written = write_evaluation_pictures(folder.path, findings.analysis)
    first = sorted(findings.saved.numbers, key=lambda source_id: findings.saved.numbers[source_id])[:MAX_TILES]
    pixels = {source_id: image for source_id in first if (image := read_image(source_id)) is not None}
    if not pixels:
        return written
    instances = findings.saved.instances
    rows = {source_id: row for row, source_id in enumerate(instances.source_ids)}
    titles = [findings.saved.file_names.get(source_id, source_id) for source_id in pixels]
    truth = [_of_image(instances, rows[source_id])[0] for source_id in pixels]
    found = [_of_image(instances, rows[source_id])[1] for source_id in pixels]
    labels = batch_picture(
        list(pixels.values()), [each[0] for each in truth], [each[1] for each in truth],
        findings.analysis.names, titles=titles,
    )  # fmt: skip
    predictions = batch_picture(
        list(pixels.values()), [each[0] for each in found], [each[1] for each in found],
        findings.analysis.names, scores=[each[2] for each in found], min_score=findings.analysis.threshold,
        titles=titles,
    )  # fmt: skip
    drawn = {VAL_LABELS: labels, VAL_PREDICTIONS: predictions}
    suspects = _label_errors_picture(findings, read_image)
    if suspects is not None:
        drawn[LABEL_ERRORS] = suspects
    return [*written, *write_batch_pictures(folder.path, drawn)]


def _label_errors_picture(findings: Findings, read_image: RecordImages) -> bytes | None:
    """Returns the worst label errors as one JPEG, ground truth beside detections; None without label errors."""
    instances, names = findings.saved.instances, findings.saved.file_names
    rows = {names.get(source_id, source_id): row for row, source_id in enumerate(instances.source_ids)}
    tiles: list[np.ndarray] = []
    titles: list[str] = []
    for file in dict.fromkeys(each.file for each in findings.rows):
        if len(tiles) == MAX_SUSPECTS:
            break
        pixels = read_image(instances.source_ids[rows[file]])
        if pixels is None:
            continue
        (boxes, class_ids), (found, found_ids, scores) = _of_image(instances, rows[file])
        detected = ImageDetections(found, scores, found_ids)
        label_map, threshold = findings.analysis.names, findings.analysis.threshold
        tiles.append(draw_comparison(pixels, (boxes, class_ids), detected, label_map=label_map, min_score=threshold))
        titles.append(file)
    return jpeg(contact_sheet(tiles, titles=titles, columns=2)) if tiles else None


def _of_image(
    instances: Instances, row: int
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Returns (boxes, class ids) of an image's objects, and (boxes, class ids, scores) of its detections."""
    truth, found = instances.truth, instances.found
    own, seen = truth.images == row, found.images == row
    return (
        (_corners(truth.boxes_xywh[own]), truth.class_ids[own]),
        (_corners(found.boxes_xywh[seen]), found.class_ids[seen], found.scores[seen]),
    )


def _corners(boxes_xywh: np.ndarray) -> np.ndarray:
    x, y, width, height = boxes_xywh.T
    return np.stack([y, x, y + height, x + width], axis=-1)
