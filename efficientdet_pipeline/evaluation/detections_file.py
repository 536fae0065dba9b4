"""Detections in COCO's result format: validated reading, and writing for test-dev."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from efficientdet_pipeline.errors import DataError, OptionsError
from efficientdet_pipeline.evaluation.truth import MAX_BYTES, TruthFile, TruthImage, image_key
from efficientdet_pipeline.inference.results import ImageDetections
from tfrmod import fileio
from tfrmod.errors import DatasetError
from tfrmod.text import read_text

TEST_DEV = "test-dev2017"
_OUT_OF_FRAME = 1.0
"""Pixels by which a box may exceed its image without a warning."""


@dataclass(frozen=True)
class DetectionsFile:
    """Detections of a file, and warnings about them."""

    images: list[ImageDetections]
    """In order of first occurrence in the file."""
    warnings: list[str]
    """Each a sentence with a count and an example."""


def check_truth(images: Sequence[TruthImage], *, source: str) -> None:
    """Raises DataError if there are no images or boxes, or a ground-truth box is invalid."""
    if not images:
        raise DataError(f"{source} must describe the evaluated images. It lists none.")
    if not any(len(image.boxes) for image in images):
        raise DataError(
            f"{source} must hold boxes. Its {len(images)} images have none, so that AP is undefined; "
            "use the instances file, not the image_info file."
        )
    for image in images:
        boxes = np.asarray(image.boxes, np.float64).reshape(-1, 4)
        wrong = np.flatnonzero((boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1]))
        if len(wrong):
            raise DataError(
                f"Boxes in {source} must have a width and height of 0 or more. Received "
                f"{boxes[wrong[0]].tolist()} (y0 x0 y1 x1) in image {image.source_id!r}; correct the annotation."
            )


def read_detections(path: Path, truth: TruthFile) -> DetectionsFile:
    """Returns the detections of a file in COCO's result format, with each row validated.

    Args:
      path: JSON list of objects with image_id, category_id, bbox (x, y, width, height) and score.
      truth: the images and classes that they are compared with.

    Raises:
      DataError: not such a list; an image or class that is not in the ground truth; a non-finite number; a score
        outside 0 to 1; a negative side; boxes in another unit.
      FileNotFoundError: the file does not exist.
    """
    rows = _rows(path)
    known = {image.source_id: image for image in truth.images}
    # If the file names no classes, they are those of its boxes.
    ids = set(truth.class_names) or {int(each) for image in truth.images for each in image.class_ids}
    by_image: dict[str, list[tuple[list[float], float, int]]] = defaultdict(list)
    for number, row in enumerate(rows):
        source_id, box, score, class_id = _checked(row, number, path)
        if source_id not in known:
            raise DataError(
                f"Every image of {path} must be in the ground truth. Row {number} has image_id {source_id!r}, which is "
                f"not among its {len(known)} images ({', '.join(list(known)[:3])} …); are both of one data set?"
            )
        if class_id not in ids:
            names = ", ".join(f"{each} {truth.class_names.get(each, '')}".strip() for each in sorted(ids)[:5])
            raise DataError(
                f"Every class of {path} must be in the ground truth. Row {number} has category_id {class_id}, which is "
                f"not among its {len(ids)} classes ({names} …); do the model's class ids start at another number?"
            )
        by_image[source_id].append((box, score, class_id))
    images = [_detected_image(source_id, own) for source_id, own in by_image.items()]
    _check_units(images, known, path)
    return DetectionsFile(images, _warnings(rows, images, known, path))


def submission_name(algorithm: str, *, dataset: str = TEST_DEV) -> str:
    """Returns the file name that COCO's server requires.

    >>> submission_name("efficientdet-d0")
    'detections_test-dev2017_efficientdet-d0_results.json'

    Raises:
      OptionsError: the name contains characters other than letters, digits, hyphens and dots.
    """
    if not re.fullmatch(r"[A-Za-z0-9.-]+", algorithm):
        raise OptionsError(
            "The name of a submission may have letters, digits, hyphens and dots only: COCO's server splits the "
            f"file name at underscores. Received {algorithm!r}."
        )
    return f"detections_{dataset}_{algorithm}_results.json"


def write_submission(folder: Path, detected: Sequence[ImageDetections], *, algorithm: str) -> Path:
    """Writes detections for COCO's test-dev server and returns the file.

    Box coordinates are rounded to hundredths of a pixel, as COCO recommends.

    Raises:
      DataError: an image has no COCO id.
      OptionsError: see `submission_name`.
    """
    path = folder / submission_name(algorithm)
    rows: list[dict[str, Any]] = []
    for image in detected:
        if not image.source_id.isdecimal():
            raise DataError(
                f"Images of a submission must have COCO's ids, which are numbers. Received source_id "
                f"{image.source_id!r}; convert the images with COCO's image_info file."
            )
        for (y0, x0, y1, x1), score, class_id in zip(
            np.asarray(image.boxes, np.float64).tolist(), image.scores, image.class_ids, strict=True
        ):
            box = [round(value, 2) for value in (x0, y0, x1 - x0, y1 - y0)]
            row = {"image_id": int(image.source_id), "category_id": int(class_id), "bbox": box}
            rows.append({**row, "score": round(float(score), 5)})
    folder.mkdir(parents=True, exist_ok=True)
    fileio.write_file(path, json.dumps(rows) + "\n")
    return path


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        rows = json.loads(read_text(path, max_bytes=MAX_BYTES).text)
    except (DatasetError, ValueError, RecursionError) as error:
        raise DataError(f"{path} must be JSON. It cannot be read: {type(error).__name__}: {error}.") from error
    if isinstance(rows, dict) and {"images", "annotations"} <= rows.keys():
        raise DataError(f"{path} must hold detections. It is a COCO file of ground truth; are the two files swapped?")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(
            f"{path} must be a list of detections, each with image_id, category_id, bbox and score. It is a "
            f"{type(rows).__name__}."
        )
    return rows


def _checked(row: Mapping[str, Any], number: int, path: Path) -> tuple[str, list[float], float, int]:
    try:
        source_id, box, score = image_key(row["image_id"]), [float(side) for side in row["bbox"]], float(row["score"])
        class_id = int(row["category_id"])
        if len(box) != 4:
            raise ValueError("bbox does not have four numbers")
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"Row {number} of {path} must have image_id, category_id, bbox of four numbers and score. Reading it "
            f"failed with {type(error).__name__}: {error}."
        ) from error
    if not np.isfinite([*box, score]).all():
        raise DataError(
            f"Numbers in {path} must be finite. Row {number} has bbox {box} and score {score}; the network "
            "has diverged."
        )
    if not 0 <= score <= 1:
        raise DataError(
            f"Scores in {path} must be 0 to 1. Row {number} has {score}; are they percentages, or logits before the "
            "sigmoid?"
        )
    if box[2] < 0 or box[3] < 0:
        raise DataError(
            f"Boxes in {path} must be x, y, width, height. Row {number} has {box}, with a negative side; are they "
            "corners?"
        )
    return source_id, box, score, class_id


def _detected_image(source_id: str, rows: Sequence[tuple[list[float], float, int]]) -> ImageDetections:
    x, y, width, height = np.array([box for box, _, _ in rows]).T
    return ImageDetections(
        np.stack([y, x, y + height, x + width], axis=-1),
        np.array([score for _, score, _ in rows]),
        np.array([class_id for _, _, class_id in rows], np.int64),
        source_id=source_id,
    )


def _check_units(images: Sequence[ImageDetections], known: Mapping[str, TruthImage], path: Path) -> None:
    """Raises DataError if all boxes lie within the first pixels, or most of them outside their image."""
    largest = max((float(image.boxes.max(initial=0.0)) for image in images), default=0.0)
    truth = max((float(np.asarray(known[image.source_id].boxes).max(initial=0.0)) for image in images), default=0.0)
    if images and largest <= 2 < truth / 4:
        raise DataError(
            f"Boxes in {path} must be in pixels of the image. All lie within {largest:g} pixels while the ground truth "
            f"extends to {truth:g}: they are fractions of the image size; multiply them by it."
        )
    outside = sum(int(_out_of_frame(image, known, wholly=True).sum()) for image in images)
    total = sum(len(image.boxes) for image in images)
    if outside > total / 2:
        raise DataError(
            f"Boxes in {path} must lie in their images. {outside} of {total} lie outside; are they x, y, width, height "
            "in pixels of the source image?"
        )


def _out_of_frame(image: ImageDetections, known: Mapping[str, TruthImage], *, wholly: bool = False) -> np.ndarray:
    """Returns (d,): whether boxes exceed the image; False if its size is unknown."""
    height, width = known[image.source_id].size
    if not height or not width:
        return np.zeros(len(image.boxes), bool)
    y0, x0, y1, x1 = image.boxes.T
    if wholly:
        return (y0 >= height) | (x0 >= width) | (y1 <= 0) | (x1 <= 0)
    tolerance = _OUT_OF_FRAME
    return (y0 < -tolerance) | (x0 < -tolerance) | (y1 > height + tolerance) | (x1 > width + tolerance)


def _warnings(
    rows: Sequence[Mapping[str, Any]],
    images: Sequence[ImageDetections],
    known: Mapping[str, TruthImage],
    path: Path,
) -> list[str]:
    if not rows:
        return [f"{path} holds no detections: every object counts as missed."]
    warnings = []
    outside = [(image, mask) for image in images for mask in [_out_of_frame(image, known)] if mask.any()]
    if outside:
        image, mask = outside[0]
        box = [round(float(side), 1) for side in image.boxes[mask][0]]
        warnings.append(
            f"{sum(int(mask.sum()) for _, mask in outside):,} of {len(rows):,} boxes exceed their image, for example "
            f"{box} (y0 x0 y1 x1) in {image.source_id!r}; they are evaluated unchanged, as in COCO."
        )
    count = Counter((str(row["image_id"]), row["category_id"], tuple(row["bbox"]), row["score"]) for row in rows)
    twice = sum(times - 1 for times in count.values())
    if twice:
        (source_id, *_), times = count.most_common(1)[0]
        warnings.append(
            f"{twice:,} of {len(rows):,} detections are duplicates, for example {times} times in image "
            f"{source_id!r}; each duplicate counts as a false positive, as in COCO."
        )
    limits = Counter((image.source_id, int(each)) for image in images for each in image.class_ids)
    full = sum(number > 100 for number in limits.values())
    if full:
        warnings.append(
            f"More than 100 detections of a class in one image, {full:,} times; COCO evaluates the best 100."
        )
    silent = len(known) - len(images)
    if silent:
        warnings.append(f"{silent:,} of {len(known):,} images have no detection; their objects count as missed.")
    return warnings
