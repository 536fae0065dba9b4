"""Detections of a run on its own images, compared with the annotations it was trained on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import efficientdet
import numpy as np
from efficientdet.preprocess import fit_to_canvas

from efficientdet_pipeline.data.input_pipeline import evaluation_batches
from efficientdet_pipeline.data.prepare import ProgressBar
from efficientdet_pipeline.doctor.dataset_stats import DatasetStats
from efficientdet_pipeline.doctor.label_errors import LabeledPrediction, LabelErrors
from efficientdet_pipeline.evaluation.evaluator import detector_function
from efficientdet_pipeline.inference.image_io import write_image
from efficientdet_pipeline.inference.results import ImageDetections, per_image
from efficientdet_pipeline.models.build import Network
from efficientdet_pipeline.options.infer import MIN_SCORE
from efficientdet_pipeline.visualize.grid import contact_sheet, draw_comparison
from tfrmod.example import decode_example
from tfrmod.image_file import decode_image
from tfrmod.tfrecord_io import read_records

BATCH_SIZE = 8
MAX_DRAWN = 8
_DRAWN_CODES = ("truth_other_class", "found_without_truth")


def predict_images(
    weights: Path, network: Network, files: Mapping[str, Sequence[Path]], stats: DatasetStats, most: int
) -> list[LabeledPrediction]:
    """Returns up to `most` images of each split with ground truth and detections."""
    detector = efficientdet.build_model(network.config)
    efficientdet.load_checkpoint(detector, weights, skip_mismatch=False)
    detect = detector_function(detector, network.config)
    predictions: list[LabeledPrediction] = []
    for split, part in files.items():
        names = {seen.image.source_id: seen.image.filename for seen in stats.splits[split]}
        batches = evaluation_batches(
            [str(path) for path in part],
            lambda prediction: fit_to_canvas(prediction, network.config),
            batch_size=BATCH_SIZE,
            limit=most,
        )
        with ProgressBar(f"detecting on {split}", "image") as show:
            for batch in batches:
                found = per_image(detect(batch.images, batch.scales, batch.sizes))
                predictions += [_labeled_prediction(batch, row, names, each) for row, each in enumerate(found)]
                show(len(predictions), None)
    return predictions


def draw_label_errors(
    path: Path,
    predictions: Sequence[LabeledPrediction],
    errors: LabelErrors,
    files: Mapping[str, Sequence[Path]],
    network: Network,
) -> bool:
    """Draws the images of the worst label errors, ground truth beside detections; returns whether there were any."""
    wanted = {each.file: None for code in _DRAWN_CODES for each in errors.worst(code)[:MAX_DRAWN]}
    drawn = {prediction.file: prediction for prediction in predictions if prediction.file in list(wanted)[:MAX_DRAWN]}
    comparisons: list[np.ndarray] = []
    titles: list[str] = []
    for record in (record for part in files.values() for file in part for record in read_records(file)):
        if len(comparisons) == len(drawn):
            break
        image = decode_example(record)
        if image.filename not in drawn:
            continue
        prediction = drawn[image.filename]
        found = ImageDetections(prediction.detected, prediction.scores, prediction.detected_ids)
        truth = (prediction.truth, prediction.truth_ids)
        pixels = decode_image(image.encoded)
        comparisons.append(draw_comparison(pixels, truth, found, label_map=network.label_map, min_score=MIN_SCORE))
        titles.append(image.filename)
    if comparisons:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, contact_sheet(comparisons, titles=titles, columns=2))
    return bool(comparisons)


def _labeled_prediction(batch: Any, row: int, names: Mapping[str, str], found: ImageDetections) -> LabeledPrediction:
    source_id = batch.source_ids[row].numpy().decode()
    count = int(batch.num_boxes[row])
    boxes, class_ids, is_crowd = (
        np.asarray(part[row][:count]) for part in (batch.boxes_original, batch.class_ids, batch.is_crowd)
    )
    return LabeledPrediction(
        file=names.get(source_id, source_id),
        truth=boxes[~is_crowd],
        truth_ids=class_ids[~is_crowd],
        crowds=boxes[is_crowd],
        detected=found.boxes,
        scores=found.scores,
        detected_ids=found.class_ids,
    )
