"""Likely label errors of an evaluation, as a CSV file."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from efficientdet_pipeline.doctor.label_errors import LabeledPrediction, LabelErrors, find_label_errors
from efficientdet_pipeline.evaluation.instances import Instances
from tfrmod import fileio

COLUMNS = ("kind", "file", "x0", "y0", "x1", "y1", "what", "rank")


def label_errors_of(
    instances: Instances, class_names: Mapping[int, str], file_names: Mapping[str, str] | None = None
) -> LabelErrors:
    """Returns the boxes on which annotation and detector confidently disagree; see `find_label_errors`.

    Args:
      instances: ground truth and detections of an evaluation.
      class_names: by class id.
      file_names: by source id; images without one are named by their source id.
    """
    return find_label_errors(labeled_predictions(instances, file_names or {}), class_names)


def labeled_predictions(instances: Instances, file_names: Mapping[str, str]) -> list[LabeledPrediction]:
    """Returns ground truth and detections of an evaluation, image by image."""
    truth, found = instances.truth, instances.found
    numbers = np.arange(len(instances.source_ids) + 1)
    truth_starts, found_starts = (np.searchsorted(side.images, numbers) for side in (truth, found))
    true_boxes, found_boxes = (_corners(side.boxes_xywh) for side in (truth, found))
    predictions = []
    for number, source_id in enumerate(instances.source_ids):
        rows = np.arange(truth_starts[number], truth_starts[number + 1])
        own = slice(found_starts[number], found_starts[number + 1])
        is_crowd = truth.is_crowd[rows]
        predictions.append(
            LabeledPrediction(
                file=file_names.get(source_id, source_id),
                truth=true_boxes[rows[~is_crowd]],
                truth_ids=truth.class_ids[rows[~is_crowd]],
                crowds=true_boxes[rows[is_crowd]],
                detected=found_boxes[own],
                scores=found.scores[own],
                detected_ids=found.class_ids[own],
            )
        )
    return predictions


def write_label_errors(path: Path, errors: LabelErrors) -> int:
    """Writes the likely label errors, the worst of each type first, and returns their number."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for code in sorted(errors.by_code):
        for error in errors.worst(code):
            y0, x0, y1, x1 = (round(side, 1) for side in error.box)
            row = (_cell(code), _cell(error.file), x0, y0, x1, y1, _cell(error.description), round(error.rank, 4))
            writer.writerow(row)
            count += 1
    fileio.write_file(path, text.getvalue())
    return count


def _cell(text: str) -> str:
    """Returns the text, protected from being read as a spreadsheet formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _corners(boxes_xywh: np.ndarray) -> np.ndarray:
    x, y, width, height = boxes_xywh.T
    return np.stack([y, x, y + height, x + width], axis=-1)
