"""Ground truth and detections of an image, and COCO files of ground truth.

Images are identified by their source id, a string: the `image/source_id` of
the record, or the id in a COCO file. All boxes are (y0, x0, y1, x1) in pixels
of the source image. n: ground-truth boxes, d: detections.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from efficientdet.types import Detections

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.inference.results import ImageDetections, per_image
from tfrmod.errors import DatasetError
from tfrmod.text import read_text

MAX_BYTES = 2 << 30


class TruthImage(NamedTuple):
    """Ground truth of one image; n = 0 without objects."""

    source_id: str
    boxes: np.ndarray
    """(n, 4), pixels of the source image."""
    class_ids: np.ndarray
    """(n,), 1-based label ids."""
    is_crowd: np.ndarray | None = None
    """(n,), true for crowd boxes, which count neither as found nor as missed."""
    areas: np.ndarray | None = None
    """(n,), area of the object's outline in square pixels; the box's area if None, zero or less."""
    file_name: str = ""
    """File name as in a COCO file; empty if not stated."""
    size: tuple[int, int] = (0, 0)
    """Height and width in pixels as in a COCO file; zeros if not stated."""
    is_difficult: np.ndarray | None = None
    """(n,), true for objects marked as difficult: Pascal VOC's metrics exclude them, COCO's do not."""


class TruthFile(NamedTuple):
    """Content of a COCO file of instances."""

    images: list[TruthImage]
    class_names: dict[int, str]
    """Names of its categories; empty if it has none."""


def image_key(source_id: object) -> str:
    """Returns a source id as the string by which ground truth and detections are joined.

    Records hold bytes and COCO files hold numbers: b"42", 42 and "42" are the same image.
    """
    return source_id.decode("utf-8") if isinstance(source_id, bytes) else str(source_id)


def detected_images(source_ids: Iterable[object], detections: Detections) -> list[ImageDetections]:
    """Returns a batch of detections image by image, without padding rows.

    Args:
      source_ids: one per row of the batch; further rows are padding and are dropped.
    """
    return [
        found._replace(source_id=image_key(source_id))
        for source_id, found in zip(source_ids, per_image(detections), strict=False)
    ]


def read_truth(path: str | Path) -> list[TruthImage]:
    """Returns the ground truth of all images in a COCO file of instances; see `read_truth_file`."""
    return read_truth_file(path).images


def read_truth_file(path: str | Path) -> TruthFile:
    """Returns the images and class names of a COCO file of instances.

    Raises:
      FileNotFoundError: the file does not exist.
      DataError: it is not JSON, or not a COCO file of instances.
    """
    try:
        content = json.loads(read_text(Path(path), max_bytes=MAX_BYTES).text)
        listed = content["images"]
        annotations_of: dict[str, list[dict[str, Any]]] = {image_key(image["id"]): [] for image in listed}
        if len(annotations_of) < len(listed):
            raise ValueError("two images share an id")
        names = {int(category["id"]): str(category["name"]) for category in content.get("categories") or ()}
        for annotation in content["annotations"]:
            annotations_of[image_key(annotation["image_id"])].append(annotation)
            if names and int(annotation["category_id"]) not in names:
                raise ValueError(f"category_id {annotation['category_id']!r} is not one of its categories")
        return TruthFile([_truth_image(image, annotations_of[image_key(image["id"])]) for image in listed], names)
    except (DatasetError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path} must be a COCO file of instances: 'images' with an id each, and 'annotations' with image_id, "
            f"category_id and bbox each. It cannot be read: {type(error).__name__}: {error}. "
            "Check --val_json_file, or leave it out: the ground truth is then read from the validation shards."
        ) from error


def _truth_image(image: dict[str, Any], annotations: Sequence[dict[str, Any]]) -> TruthImage:
    boxes_xywh = np.array([a["bbox"] for a in annotations], dtype=np.float64)
    if annotations and (boxes_xywh.shape != (len(annotations), 4) or not np.isfinite(boxes_xywh).all()):
        raise ValueError(f"a bbox of image {image['id']!r} is not four numbers")
    x, y, width, height = boxes_xywh.reshape(-1, 4).T
    return TruthImage(
        image_key(image["id"]),
        boxes=np.stack([y, x, y + height, x + width], axis=-1),
        class_ids=np.array([int(a["category_id"]) for a in annotations], dtype=np.int64),
        is_crowd=np.array([a.get("iscrowd") or 0 for a in annotations], dtype=bool),
        areas=np.array([a.get("area") or 0.0 for a in annotations], dtype=np.float64),
        file_name=str(image.get("file_name") or ""),
        size=(int(image.get("height") or 0), int(image.get("width") or 0)),
    )
