"""What was seen in one image, and the file that says so of many."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from efficientdet.types import Detections

from tfrmod import atomic


class ImageDetections(NamedTuple):
    """The detections of one image, best first, without padding."""

    boxes: np.ndarray
    """(d, 4): y0 x0 y1 x1 in pixels of the image."""
    scores: np.ndarray
    """(d,), 0 to 1."""
    class_ids: np.ndarray
    """(d,), 1-based label ids, whole numbers."""

    def above(self, min_score: float) -> "ImageDetections":
        """Returns those of at least this score."""
        keep = self.scores >= min_score
        return ImageDetections(self.boxes[keep], self.scores[keep], self.class_ids[keep])


def per_image(detections: Detections) -> list[ImageDetections]:
    """Returns a batch of detections image by image, without the padding rows."""
    boxes, scores, class_ids, num_valid = (np.asarray(part) for part in detections)
    return [
        ImageDetections(boxes[row, :valid], scores[row, :valid], np.rint(class_ids[row, :valid]).astype(np.int64))
        for row, valid in enumerate(num_valid.tolist())
    ]


def image_record(
    image: str | Path, size: tuple[int, int], found: ImageDetections, label_map: Mapping[int, str]
) -> dict[str, Any]:
    """Returns one image's entry in the file of detections.

    Args:
      image: the path as the user gave it.
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
                    side: round(float(value), 3) for side, value in zip(("y0", "x0", "y1", "x1"), box, strict=True)
                },
            }
            for box, score, class_id in zip(*found, strict=True)
        ],
    }


def class_name(class_id: int, label_map: Mapping[int, str]) -> str:
    """Returns the name of a class, or its id where it has none."""
    return str(label_map.get(class_id, class_id))


def write_detections_json(path: str | Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Writes a JSON list of `image_record`s, one image after the other, whole or not at all."""
    atomic.write_file(Path(path), json.dumps(list(records), indent=1, ensure_ascii=False) + "\n")
