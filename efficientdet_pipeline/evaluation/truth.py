"""What is compared in an evaluation: the boxes that are there, and those found.

Both sides name an image by its source id, a string: the `image/source_id` of
its record, or the id in a COCO file. Boxes are (y0, x0, y1, x1) in pixels of
the source image on both sides. n: ground-truth boxes, d: detections.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from efficientdet.types import Detections

from efficientdet_pipeline.errors import DataError
from tfrmod.errors import DatasetError
from tfrmod.text import read_text

MAX_BYTES = 2 << 30


class TruthImage(NamedTuple):
    """The ground truth of one image; an image without objects has n = 0."""

    source_id: str
    boxes: np.ndarray
    """(n, 4), pixels of the source image."""
    class_ids: np.ndarray
    """(n,), 1-based label ids."""
    is_crowd: np.ndarray | None = None
    """(n,), true where the box surrounds a group: it is neither to be found nor wrong to find."""
    areas: np.ndarray | None = None
    """(n,), square pixels of the object's outline; the box's own area where None, zero or less."""
    file_name: str = ""
    """As a COCO file has it; empty where it does not say."""
    size: tuple[int, int] = (0, 0)
    """Height and width in pixels that a COCO file states; zeros where it does not say."""
    is_difficult: np.ndarray | None = None
    """(n,), true where the object is marked as hard to recognize: Pascal VOC's numbers leave it out, COCO's do not."""


class TruthFile(NamedTuple):
    """What a COCO file of instances holds."""

    images: list[TruthImage]
    class_names: dict[int, str]
    """Of its categories; empty where it lists none."""


class DetectedImage(NamedTuple):
    """What the detector found in one image; nothing found is d = 0."""

    source_id: str
    boxes: np.ndarray
    """(d, 4), pixels of the source image."""
    scores: np.ndarray
    """(d,), 0 to 1."""
    class_ids: np.ndarray
    """(d,), 1-based label ids."""


def image_key(source_id: object) -> str:
    """Returns a source id as the string by which both sides meet.

    Records hold bytes and COCO files hold numbers: b"42", 42 and "42" are one image.
    """
    return source_id.decode("utf-8") if isinstance(source_id, bytes) else str(source_id)


def detected_images(source_ids: Iterable[object], detections: Detections) -> list[DetectedImage]:
    """Returns a batch of detections image by image, without the padding rows.

    Args:
      source_ids: one a row of the batch; where there are fewer of them, the rows behind pad the batch and are left out.
    """
    boxes, scores, class_ids, num_valid = (np.asarray(part) for part in detections)
    return [
        DetectedImage(image_key(source_id), boxes[row, :valid], scores[row, :valid], class_ids[row, :valid])
        for row, (source_id, valid) in enumerate(zip(source_ids, num_valid.tolist(), strict=False))
    ]


def read_truth(path: str | Path) -> list[TruthImage]:
    """Returns the ground truth of every image in a COCO file of instances; see `read_truth_file`."""
    return read_truth_file(path).images


def read_truth_file(path: str | Path) -> TruthFile:
    """Returns the images and class names of a COCO file of instances.

    Raises:
      FileNotFoundError: there is no such file.
      DataError: it is not JSON, or not COCO's instances.
    """
    try:
        content = json.loads(read_text(Path(path), max_bytes=MAX_BYTES).text)
        listed = content["images"]
        annotations_of: dict[str, list[dict[str, Any]]] = {image_key(image["id"]): [] for image in listed}
        if len(annotations_of) < len(listed):
            raise ValueError("two images have one id")
        names = {int(category["id"]): str(category["name"]) for category in content.get("categories") or ()}
        for annotation in content["annotations"]:
            annotations_of[image_key(annotation["image_id"])].append(annotation)
            if names and int(annotation["category_id"]) not in names:
                raise ValueError(f"category_id {annotation['category_id']!r} is none of its categories")
        return TruthFile([_truth_image(image, annotations_of[image_key(image["id"])]) for image in listed], names)
    except (DatasetError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path} must be a COCO file of instances: 'images' with an id each, and 'annotations' with image_id, "
            f"category_id and bbox each. Reading it failed with {type(error).__name__}: {error}. "
            "Check --val_json_file, or leave it out: the truth is then taken from the validation shards."
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
