"""Detection on large images by tiles, so that small objects keep their resolution."""

from collections import defaultdict
from collections.abc import Collection, Iterator

import numpy as np

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.inference.predictor import Predictor
from efficientdet_pipeline.inference.results import ImageDetections, per_image

_EDGE = 2.0
"""Distance in pixels from a tile's edge within which a box counts as cut."""
_COMPARABLE = 0.5
"""A complete box takes the place of a part of its object if its score is this share of the part's or more; a detector
gives many boxes of very low scores, which are not the object."""


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
    a box cut by an inner edge is dropped if a larger one of a comparable score covers it.

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
    merged = _merged(ImageDetections(boxes, scores, ids), np.concatenate(cut), size, iou_threshold)
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


def _merged(found: ImageDetections, cut: np.ndarray, size: tuple[int, int], iou_threshold: float) -> ImageDetections:
    of_classes = (np.flatnonzero(found.class_ids == class_id) for class_id in np.unique(found.class_ids))
    kept = [rows[_kept(found.boxes[rows], found.scores[rows], cut[rows], size, iou_threshold)] for rows in of_classes]
    rows = np.concatenate([*kept, np.zeros(0, np.int64)])
    rows = rows[np.argsort(-found.scores[rows], kind="stable")]
    return ImageDetections(found.boxes[rows], found.scores[rows], found.class_ids[rows])


def _kept(
    boxes: np.ndarray, scores: np.ndarray, cut: np.ndarray, size: tuple[int, int], iou_threshold: float
) -> np.ndarray:
    """Returns the rows of the boxes of one class that are kept.

    Complete boxes come first, so that they suppress parts of the same object from other tiles.
    """
    # No box is larger than a tile, so those that overlap have their first corners in neighboring cells of that size.
    cells = np.floor(boxes[:, :2] / size).astype(np.int64)
    by_cell: dict[tuple[int, int], list[int]] = defaultdict(list)

    def near(row: int) -> np.ndarray:
        y, x = cells[row].tolist()
        places = ((y + down, x + right) for down in (-1, 0, 1) for right in (-1, 0, 1))
        return np.array([each for place in places for each in by_cell.get(place, ())], np.int64)

    for row in np.lexsort((-scores, cut)).tolist():
        others = near(row)
        shared, area, areas = _shared(boxes[row], boxes[others])
        # A part may be small compared to its object: use the share of the part that is covered.
        whole = area if cut[row] else area + areas - shared
        is_covering = (shared > iou_threshold * whole) & (scores[others] >= _COMPARABLE * scores[row])
        if not is_covering.any():
            by_cell[tuple(cells[row].tolist())].append(row)
    kept = np.sort(np.array([row for each in by_cell.values() for row in each], np.int64))
    is_beaten = np.zeros(len(boxes), bool)
    for row in kept[cut[kept]].tolist():
        others = near(row)
        shared, area, areas = _shared(boxes[row], boxes[others])
        is_worse = scores[others] < _COMPARABLE * scores[row]
        is_beaten[others[is_worse & (shared > iou_threshold * (area + areas - shared))]] = True
    return kept[~is_beaten[kept]]


def _shared(box: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Returns the areas that a box shares with others, its own area, and theirs."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
    return np.maximum(sides, 0.0).prod(axis=1), float((box[2:] - box[:2]).prod()), areas
