"""Detection on large images by tiles, so that small objects keep their resolution."""

from collections.abc import Collection, Iterator

import numpy as np

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.inference.predictor import Predictor
from efficientdet_pipeline.inference.results import ImageDetections, per_image

_EDGE = 2.0
"""Distance in pixels from a tile's edge within which a box counts as cut."""


def detect_tiled(
    predictor: Predictor,
    image: np.ndarray,
    *,
    tile: tuple[int, int],
    overlap: float = 0.2,
    iou_threshold: float = 0.5,
    batch_size: int = 1,
    class_ids: Collection[int] = (),
) -> ImageDetections:
    """Returns the detections of an image that is cut into overlapping tiles, best first.

    All tiles have one size; those at the right and lower edge are moved inward.
    Among overlapping boxes of one class from different tiles, the best is kept;
    a box cut by an inner edge is dropped if a larger one covers it.

    Args:
      image: uint8 RGB (h, w, 3).
      tile: height and width in pixels; cut to the image's size.
      overlap: of neighbouring tiles, as a fraction of their side, 0 to 0.9. Choose it larger than
        the largest object that must not be cut.
      iou_threshold: IoU above which the weaker of two boxes is dropped.
      batch_size: tiles per batch.
      class_ids: of the classes to detect; empty means all.

    Raises:
      OptionsError: `tile` or `overlap` are out of range.
    """
    if min(tile) < 1 or not 0.0 <= overlap <= 0.9:
        raise OptionsError(
            f"tile must be 1 pixel or more on each side, and overlap 0 to 0.9. Received tile={tile} and "
            f"overlap={overlap}; try 640x640 and 0.2.",
            option="tile",
        )
    height, width = image.shape[:2]
    size = (min(tile[0], height), min(tile[1], width))
    places = [(top, left) for top in _starts(height, size[0], overlap) for left in _starts(width, size[1], overlap)]
    parts, cut = [], []
    for start in range(0, len(places), batch_size):
        batch = places[start : start + batch_size]
        pixels = np.stack([image[top : top + size[0], left : left + size[1]] for top, left in batch])
        for place, found in zip(batch, per_image(predictor.detect(pixels)), strict=True):
            inside = found.within(*size)
            cut.append(_is_cut(inside.boxes, place, size, (height, width)))
            parts.append(ImageDetections(inside.boxes + np.tile(place, 2), inside.scores, inside.class_ids))
    boxes, scores, ids = (
        np.concatenate(each)
        for each in zip(*((part.boxes, part.scores, part.class_ids) for part in parts), strict=True)
    )
    merged = _merged(ImageDetections(boxes, scores, ids), np.concatenate(cut), iou_threshold)
    return merged.of_classes(class_ids) if class_ids else merged


def _starts(length: int, side: int, overlap: float) -> Iterator[int]:
    """Yields the start of each tile along one axis, evenly spaced from the first pixel to the last."""
    step = max(1, int(side * (1.0 - overlap)))
    count = -(-(length - side) // step) + 1
    for number in range(count):
        yield round(number * (length - side) / (count - 1)) if count > 1 else 0


def _is_cut(boxes: np.ndarray, place: tuple[int, int], size: tuple[int, int], image: tuple[int, int]) -> np.ndarray:
    """Returns whether boxes touch an edge of their tile that is not an edge of the image."""
    cut = np.zeros(len(boxes), bool)
    for axis in (0, 1):
        if place[axis] > 0:
            cut |= boxes[:, axis] < _EDGE
        if place[axis] + size[axis] < image[axis]:
            cut |= boxes[:, axis + 2] > size[axis] - _EDGE
    return cut


def _merged(found: ImageDetections, cut: np.ndarray, iou_threshold: float) -> ImageDetections:
    # Complete boxes first, so that they suppress parts of the same object from other tiles.
    order = np.lexsort((-found.scores, cut))
    kept: list[int] = []
    for index in order:
        same = [other for other in kept if found.class_ids[other] == found.class_ids[index]]
        if not same or not _overlaps(found.boxes[index], bool(cut[index]), found.boxes[same], iou_threshold):
            kept.append(int(index))
    best_first = sorted(kept, key=lambda index: -found.scores[index])
    return ImageDetections(found.boxes[best_first], found.scores[best_first], found.class_ids[best_first])


def _overlaps(box: np.ndarray, is_cut: bool, others: np.ndarray, iou_threshold: float) -> bool:
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.maximum(sides, 0.0).prod(axis=1)
    area = (box[2:] - box[:2]).prod()
    union = area + (others[:, 2:] - others[:, :2]).prod(axis=1) - shared
    # A part may be small compared to its object: use the share of the part that is covered.
    return bool((shared > iou_threshold * (area if is_cut else union)).any())
