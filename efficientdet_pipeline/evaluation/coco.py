"""Average precision and recall as COCO defines them, computed by pycocotools."""

import contextlib
import io
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.evaluation.truth import DetectedImage, TruthImage

METRIC_NAMES = (
    "AP",
    "AP50",
    "AP75",
    "APs",
    "APm",
    "APl",
    "ARmax1",
    "ARmax10",
    "ARmax100",
    "ARs",
    "ARm",
    "ARl",
)
"""In the order of COCOeval.stats, by the names automl gives them."""

UNDEFINED = -1.0
"""COCO's value of a number nothing was there to measure, for example APl without large objects."""


def coco_metrics(
    truth: Sequence[TruthImage],
    detected: Sequence[DetectedImage],
    label_map: Mapping[int, str],
) -> dict[str, Any]:
    """Returns COCO's twelve numbers and the average precision of each class.

    Every image of `truth` counts, also one without objects and one in which
    nothing was found. (automl counts only images with detections.) To evaluate
    part of a file, pass that part of its images.

    Args:
      truth: all images of the evaluation, each once.
      detected: at most one for each image of `truth`; the best 100 boxes of each are looked at.
      label_map: class id to name. A class that is only in the data goes by its id.

    Returns:
      The twelve `METRIC_NAMES`, and under "per_class" and "per_class_AP50" the
      numbers by class name. All are 0 to 1, or -1 where nothing was there to measure.

    Raises:
      DataError: an image comes twice, or was detected in but is not in the truth.

    >>> metrics = coco_metrics([TruthImage("7", [[0, 0, 9, 9]], [1])], [], {1: "cat"})
    >>> metrics["AP"], metrics["APl"], metrics["per_class"]
    (0.0, -1.0, {"cat": 0.0})
    """
    image_ids = _image_ids(truth, detected)
    class_ids = sorted({*map(int, label_map), *(int(i) for image in truth for i in image.class_ids)})
    images = [{"id": image_id} for image_id in image_ids.values()]
    categories = [{"id": class_id} for class_id in class_ids]

    def indexed(annotations: Iterator[dict[str, Any]]) -> COCO:
        coco = COCO()
        # pycocotools takes an annotation id of 0 for "not matched": ids begin at 1.
        numbered = [{"id": number, **annotation} for number, annotation in enumerate(annotations, start=1)]
        coco.dataset = {"images": images, "categories": categories, "annotations": numbered}
        coco.createIndex()
        return coco

    # pycocotools reports on stdout; the context manager gives stdout back whatever happens in between.
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(
            indexed(_truth_annotations(truth, image_ids)), indexed(_detected_annotations(detected, image_ids)), "bbox"
        )
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()

    names = class_names(class_ids, label_map)
    return {
        **dict(zip(METRIC_NAMES, map(float, evaluation.stats), strict=True)),
        "per_class": dict(zip(names, _precision_per_class(evaluation, slice(None)), strict=True)),
        "per_class_AP50": dict(zip(names, _precision_per_class(evaluation, 0), strict=True)),
    }


def class_names(class_ids: Sequence[int], label_map: Mapping[int, str]) -> list[str]:
    """Returns one name for each class, no name twice.

    >>> class_names([1, 2, 5], {1: "cat", 2: "cat"})
    ["cat (1)", "cat (2)", "5"]
    """
    names = [str(label_map.get(class_id, class_id)) for class_id in class_ids]
    count = Counter(names)
    return [
        name if count[name] == 1 else f"{name} ({class_id})" for name, class_id in zip(names, class_ids, strict=True)
    ]


def _image_ids(truth: Sequence[TruthImage], detected: Sequence[DetectedImage]) -> dict[str, int]:
    """Returns a number for each source id: pycocotools wants numbers, and small ones are exact everywhere.

    Among equal scores the detection in the image of the lower number comes first, so the numbers keep the order of
    COCO's ids: the result is the official one, in whatever order the images come.
    """
    in_order = sorted({image.source_id for image in truth}, key=_coco_order)
    image_ids = {source_id: number for number, source_id in enumerate(in_order, start=1)}
    for images, side in ((truth, "ground truth"), (detected, "detections")):
        twice = [source_id for source_id, times in Counter(i.source_id for i in images).items() if times > 1]
        if twice:
            raise DataError(
                f"Each image must come once in an evaluation. In the {side}, {len(twice)} source ids come more often, "
                f"for example {twice[0]!r}. Are two shards of different data sets read together?"
            )
    unknown = [image.source_id for image in detected if image.source_id not in image_ids]
    if unknown:
        raise DataError(
            f"Every evaluated image must be in the ground truth. {len(unknown)} of {len(detected)} are not, for "
            f"example source_id {unknown[0]!r}; the truth has {', '.join(map(repr, in_order[:3])) or 'no images'} … "
            "Check that --val_json_file and the validation shards are of one data set."
        )
    return image_ids


def _coco_order(source_id: str) -> tuple[int, str]:
    """Sorts numbers as numbers, and names behind them."""
    return (int(source_id), source_id) if source_id.isdecimal() else (sys.maxsize, source_id)


def _truth_annotations(truth: Sequence[TruthImage], image_ids: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    for image in truth:
        boxes_xywh = _boxes_xywh(image.boxes)
        box_areas = boxes_xywh[:, 2] * boxes_xywh[:, 3]
        areas = box_areas if image.areas is None else np.asarray(image.areas, np.float64)
        areas = np.where(areas > 0, areas, box_areas)
        crowd = np.zeros(len(boxes_xywh), int) if image.is_crowd is None else np.asarray(image.is_crowd, int)
        for box, class_id, area, is_crowd in zip(boxes_xywh, image.class_ids, areas, crowd, strict=True):
            yield {
                "image_id": image_ids[image.source_id],
                "category_id": int(class_id),
                "bbox": box.tolist(),
                "area": float(area),
                "iscrowd": int(is_crowd),
            }


def _detected_annotations(detected: Sequence[DetectedImage], image_ids: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    for image in detected:
        for box, score, class_id in zip(_boxes_xywh(image.boxes), image.scores, image.class_ids, strict=True):
            yield {
                "image_id": image_ids[image.source_id],
                "category_id": int(class_id),
                "bbox": box.tolist(),
                "area": float(box[2] * box[3]),
                "iscrowd": 0,
                "score": float(score),
            }


def _boxes_xywh(boxes: np.ndarray) -> np.ndarray:
    y0, x0, y1, x1 = np.asarray(boxes, np.float64).reshape(-1, 4).T
    return np.stack([x0, y0, x1 - x0, y1 - y0], axis=-1)


def _precision_per_class(evaluation: COCOeval, thresholds: slice | int) -> list[float]:
    """Returns each class's precision, averaged over recalls and these IoU thresholds.

    `precision` is (10 thresholds from .5, 101 recalls, k classes, 4 areas, 3 limits on the number of detections);
    the first area is "all", the last limit is 100.
    """
    precision = np.moveaxis(evaluation.eval["precision"][thresholds, ..., 0, -1], -1, 0)
    return [float(values[values > -1].mean()) if (values > -1).any() else UNDEFINED for values in precision]
