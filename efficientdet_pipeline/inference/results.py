"""Detections of an image, and the JSON files of many."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from efficientdet.types import Detections

BOX_DECIMALS = 3
"""Decimals of box coordinates in files, in pixels."""


class ImageDetections(NamedTuple):
    """The detections of one image, best first, without padding."""

    boxes: np.ndarray
    """(d, 4): y0 x0 y1 x1 in pixels of the image."""
    scores: np.ndarray
    """(d,), 0 to 1."""
    class_ids: np.ndarray
    """(d,), 1-based label ids, integers."""
    source_id: str = ""
    """Name of the image, by which an evaluation joins detections and ground truth."""

    def rows(self) -> Iterator[tuple[np.ndarray, float, int]]:
        """Yields the box (4,), score and class id of each detection."""
        for box, score, class_id in zip(self.boxes, self.scores, self.class_ids, strict=True):
            yield box, float(score), int(class_id)

    def above(self, min_score: float) -> "ImageDetections":
        """Returns the detections with at least this score."""
        keep = self.scores >= min_score
        return ImageDetections(self.boxes[keep], self.scores[keep], self.class_ids[keep], self.source_id)

    def within(self, height: int, width: int) -> "ImageDetections":
        """Returns the detections clipped to the image, without those outside it.

        Boxes in the canvas's padding are outside. They change no metric, because
        they overlap no object, but would disturb cropping and measuring.
        """
        boxes = np.clip(self.boxes, 0.0, [height, width, height, width])
        corners = np.round(boxes, BOX_DECIMALS)
        keep = (corners[:, 2:] > corners[:, :2]).all(axis=1)
        return ImageDetections(boxes[keep], self.scores[keep], self.class_ids[keep], self.source_id)

    def of_classes(self, class_ids: Collection[int]) -> "ImageDetections":
        """Returns the detections of these classes."""
        keep = np.isin(self.class_ids, list(class_ids))
        return ImageDetections(self.boxes[keep], self.scores[keep], self.class_ids[keep], self.source_id)


def per_image(detections: Detections) -> list[ImageDetections]:
    """Returns a batch of detections image by image, without padding rows."""
    boxes, scores, class_ids, num_valid = (np.asarray(part) for part in detections)
    return [
        ImageDetections(boxes[row, :valid], scores[row, :valid], np.rint(class_ids[row, :valid]).astype(np.int64))
        for row, valid in enumerate(num_valid.tolist())
    ]


def image_record(
    image: str | Path, size: tuple[int, int], found: ImageDetections, label_map: Mapping[int, str]
) -> dict[str, Any]:
    """Returns the entry of one image in the detections file.

    Args:
      image: the path as given by the user.
      size: (height, width) in pixels, upright.

    >>> image_record("a.jpg", (480, 640), found, {1: "cat"})
    {"image": "a.jpg", "width": 640, "height": 480, "detections": [
        {"class_id": 1, "class_name": "cat", "score": 0.91, "box": {"y0": 10.0, "x0": 20.0, "y1": 60.5, "x1": 80.0}}]}
    """
    height, width = size
    return {
        "image": str(image),
        "width": width,
        "height": height,
        "detections": [
            {
                "class_id": int(class_id),
                "class_name": class_name(int(class_id), label_map),
                "score": round(float(score), 6),
                "box": {
                    side: round(float(value), BOX_DECIMALS)
                    for side, value in zip(("y0", "x0", "y1", "x1"), box, strict=True)
                },
            }
            for box, score, class_id in found.rows()
        ],
    }


def class_name(class_id: int, label_map: Mapping[int, str]) -> str:
    """Returns the name of a class, or its id if it has none."""
    return str(label_map.get(class_id, class_id))


def count_classes(found: ImageDetections, label_map: Mapping[int, str]) -> str:
    """Returns the number of detections per class as text; empty without detections.

    >>> count_classes(found, {1: "cat"})
    '2 cat, 1 of class 2'
    """
    counts = Counter(found.class_ids.tolist())
    return ", ".join(f"{count} {label_map.get(number) or f'of class {number}'}" for number, count in counts.items())


def describe_no_detections(found: ImageDetections, min_score: float | None, label_map: Mapping[int, str]) -> str:
    """Returns the threshold that no detection reaches and the best score below it, as text.

    Args:
      min_score: None if each class has its own.

    >>> describe_no_detections(found, 0.4, {1: "cat"})
    'nothing found above 0.4 (best: cat 0.33)'
    """
    if not len(found.scores):
        return "nothing found at any score"
    best = int(np.argmax(found.scores))
    name = class_name(int(found.class_ids[best]), label_map)
    # Rounded down: 0.398 must not be printed as 0.40, which would reach a threshold of 0.4.
    limit = "the thresholds of the classes" if min_score is None else f"{min_score:g}"
    return f"nothing found above {limit} (best: {name} {np.floor(found.scores[best] * 100) / 100:.2f})"
