"""Evaluation of a detections file against a COCO file, or against the ground truth of shards."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from absl import logging

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.evaluation.detections_file import check_truth, read_detections
from efficientdet_pipeline.evaluation.kept_detections import Detected
from efficientdet_pipeline.evaluation.truth import TruthFile, TruthImage, image_key, read_truth_file
from tfrmod.example import decode_example
from tfrmod.tfrecord_io import read_records


@dataclass(frozen=True)
class EvaluatedFile:
    """Detections of a file, and their ground truth."""

    detected: Detected
    label_map: dict[int, str]
    warnings: list[str]


def evaluate_detections(path: Path, *, json_file: str = "", shards: Sequence[Path] = ()) -> EvaluatedFile:
    """Returns the detections of a file with the ground truth of a COCO file, or of shards if none is named.

    Images are joined by id; if the ids are file names of images without suffix, as `--mode=infer` writes them, by
    file name.

    Raises:
      DataError: a file that cannot be read or evaluated; the message names the row.
      FileNotFoundError: the file does not exist.
    """
    source = Path(json_file).expanduser() if json_file else Path(shards[0]).parent
    truth = read_truth_file(source) if json_file else _truth_of_shards(shards)
    check_truth(truth.images, source=str(source))
    pairs = _pairs(path, truth)
    read = read_detections(path, truth._replace(images=[named for named, _ in pairs]))
    names = {named.source_id: own.source_id for named, own in pairs}
    images = [image._replace(source_id=names[image.source_id]) for image in read.images]
    return EvaluatedFile((truth.images, images), truth.class_names, read.warnings)


def _truth_of_shards(shards: Sequence[Path]) -> TruthFile:
    images: list[TruthImage] = []
    names: dict[int, str] = {}
    for record in (record for file in sorted(shards) for record in read_records(file)):
        image = decode_example(record)
        names |= {each.class_id: each.name for each in image.objects if each.name}
        images.append(
            TruthImage(
                image.source_id,
                np.array([each.box for each in image.objects], np.float64).reshape(-1, 4),
                np.array([each.class_id for each in image.objects], np.int64),
                np.array([each.is_crowd for each in image.objects], bool),
                np.array([each.area or 0.0 for each in image.objects], np.float64),
                file_name=image.filename,
                size=(image.height, image.width),
                is_difficult=np.array([each.difficult for each in image.objects], bool),
            )
        )
    return TruthFile(images, dict(sorted(names.items())))


def _pairs(path: Path, truth: TruthFile) -> list[tuple[TruthImage, TruthImage]]:
    """Returns each ground-truth image under the id of the detections file, and under its own."""
    ids, known = _image_ids(path), {image.source_id for image in truth.images}
    stems = [Path(image.file_name).stem for image in truth.images]
    if ids <= known or not ids <= set(stems) or not all(stems):
        return [(image, image) for image in truth.images]
    if len(set(stems)) < len(stems):
        raise DataError(
            f"The image_id of {path} are names of image files, which must be unique. Two images of the "
            "ground truth have the same name; write the ids of the ground truth instead."
        )
    logging.info("The image_id of %s are names of image files: images are joined by them.", path)
    return [(image._replace(source_id=stem), image) for image, stem in zip(truth.images, stems, strict=True)]


def _image_ids(path: Path) -> set[str]:
    """Returns the image ids of a detections file; none if it is not such a file, which reading it reports."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {image_key(row["image_id"]) for row in rows}
    except (ValueError, KeyError, TypeError, RecursionError):
        return set()
