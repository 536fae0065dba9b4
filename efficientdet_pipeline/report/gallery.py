"""Gallery images: most missed objects, most false positives, best results, and a random sample."""

import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from efficientdet_pipeline.evaluation.analysis import Analysis
from efficientdet_pipeline.evaluation.error_split import KINDS, ErrorKind
from efficientdet_pipeline.evaluation.matching import NOTHING
from efficientdet_pipeline.report.contents import BoxState, DrawnBox, GalleryImage

ReadImage = Callable[[str], np.ndarray | None]
"""Source id → uint8 RGB (h, w, 3); None if there is no such image."""
MISSES, FALSE_POSITIVES, BEST, RANDOM = "worst misses", "worst false positives", "best", "random"
GROUPS = (MISSES, FALSE_POSITIVES, BEST, RANDOM)
PER_GROUP = 20
MAX_BYTES = 9_000_000
"""Total size of the JPEG files, so that the page stays below 15 MB."""
MAX_BOXES = 300
MAX_SIDE, MIN_SIDE = 1024, 320
"""Longest side in pixels of an image in the report."""
_QUALITY = 82


class _Outcome(NamedTuple):
    """Results for objects and detections of all images at the threshold of the analysis."""

    is_shown: np.ndarray
    """(d,)."""
    is_right: np.ndarray
    """(d,) for detections above the threshold."""
    is_missed: np.ndarray
    """(n,) for objects that are not ignored."""


def gallery(
    analysis: Analysis,
    read_image: ReadImage,
    *,
    file_names: Mapping[str, str] | None = None,
    per_group: int = PER_GROUP,
    max_bytes: int = MAX_BYTES,
    seed: int = 0,
) -> list[GalleryImage]:
    """Returns the images of all groups, each once, those with errors first.

    Args:
      analysis: of the evaluation.
      read_image: returns the pixels of an image.
      file_names: by source id; images without one are named by their source id.
      per_group: images per group.
      max_bytes: total size of the JPEG files; images are downscaled to meet it.
      seed: of the random group.
    """
    chosen = select_images(analysis, per_group=per_group, seed=seed)
    each = max_bytes // max(1, len(chosen))
    images = []
    for row, groups in chosen.items():
        source_id = analysis.instances.source_ids[row]
        pixels = read_image(source_id)
        if pixels is not None:
            images.append(
                GalleryImage(
                    name=(file_names or {}).get(source_id, source_id),
                    jpeg=small_jpeg(pixels, each),
                    height=pixels.shape[0],
                    width=pixels.shape[1],
                    boxes=image_boxes(analysis, row),
                    groups=groups,
                )
            )
    return images


def select_images(analysis: Analysis, *, per_group: int = PER_GROUP, seed: int = 0) -> dict[int, tuple[str, ...]]:
    """Returns {index in `Instances.source_ids`: groups of the image}, in the order of `GROUPS`."""
    instances, outcome = analysis.instances, _outcome(analysis)
    truth, found, size = instances.truth, instances.found, len(instances.source_ids)
    missed = np.bincount(truth.images[outcome.is_missed], minlength=size)
    objects = np.bincount(truth.images[~analysis.matches.truth_ignored], minlength=size)
    wrong = np.bincount(found.images[outcome.is_shown & ~outcome.is_right], minlength=size)
    loudest = np.zeros(size)
    alarms = outcome.is_shown & ~outcome.is_right
    np.maximum.at(loudest, found.images[alarms], found.scores[alarms])
    right = objects - missed
    f1 = 2 * right / np.maximum(2 * right + missed + wrong, 1)
    ranked = {
        MISSES: _first(np.lexsort((-missed / np.maximum(objects, 1), -missed)), missed > 0, per_group),
        FALSE_POSITIVES: _first(np.lexsort((-wrong, -loudest)), wrong > 0, per_group),
        BEST: _first(np.lexsort((-objects, -f1)), right > 0, per_group),
        RANDOM: np.random.default_rng(seed).permutation(size)[:per_group].tolist(),
    }
    chosen: dict[int, tuple[str, ...]] = {}
    for group in GROUPS:
        for row in ranked[group]:
            chosen[row] = (*chosen.get(row, ()), group)
    return chosen


def small_jpeg(pixels: np.ndarray, max_bytes: int) -> bytes:
    """Returns the image as JPEG of about `max_bytes` at most, downscaled if needed; uint8 RGB (h, w, 3)."""
    image = Image.fromarray(pixels)
    side = min(MAX_SIDE, max(image.size))
    while True:
        reduced = image.copy()
        reduced.thumbnail((side, side), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        reduced.save(file, "JPEG", quality=_QUALITY)
        content = file.getvalue()
        if len(content) <= max_bytes or side <= MIN_SIDE:
            return content
        # The size of a JPEG is roughly proportional to its number of pixels.
        side = max(MIN_SIDE, int(0.95 * side * math.sqrt(max_bytes / len(content))))


def found_objects(analysis: Analysis) -> np.ndarray:
    """Returns (n,): whether objects are ignored, or found by detections above the threshold of the analysis."""
    return ~_outcome(analysis).is_missed


def _outcome(analysis: Analysis) -> _Outcome:
    found, matches = analysis.instances.found, analysis.matches
    known = np.isin(found.class_ids, np.array(analysis.instances.class_ids, np.int64))
    is_shown = (found.scores >= analysis.threshold) & ~matches.found_ignored[0] & known
    partner = matches.found_rows[0]
    is_found = (partner != NOTHING) & (is_shown[partner] if len(found) else False)
    return _Outcome(is_shown, is_shown & (matches.truth_rows[0] != NOTHING), ~is_found & ~matches.truth_ignored)


def image_boxes(analysis: Analysis, row: int) -> list[DrawnBox]:
    """Returns the boxes of an image: objects first, then detections by descending score."""
    instances, outcome = analysis.instances, _outcome(analysis)
    truth, found, names = instances.truth, instances.found, analysis.names
    drawn = []
    for number in np.flatnonzero(truth.images == row).tolist():
        is_missed = bool(outcome.is_missed[number])
        state: BoxState = "crowd" if analysis.matches.truth_ignored[number] else "missed" if is_missed else "found"
        kind = ErrorKind.MISSED.value if is_missed else ""
        class_id = int(truth.class_ids[number])
        drawn.append(DrawnBox(_corners(truth.boxes_xywh[number]), names[class_id], state, kind=kind))
    errors = analysis.errors.errors
    shown = np.flatnonzero((found.images == row) & outcome.is_shown)
    for number in shown[np.argsort(-found.scores[shown], kind="stable")].tolist():
        is_right = bool(outcome.is_right[number])
        places = np.flatnonzero((errors.found == number) & ~is_right)
        kind = "" if is_right else ErrorKind.DUPLICATE.value
        if len(places):
            kind = KINDS[int(errors.kinds[int(places[0])])].value
        drawn.append(
            DrawnBox(
                _corners(found.boxes_xywh[number]),
                names[int(found.class_ids[number])],
                "right" if is_right else "wrong",
                float(found.scores[number]),
                kind,
            )
        )
    return drawn[:MAX_BOXES]


def _first(order: np.ndarray, mask: np.ndarray, count: int) -> list[int]:
    return order[mask[order]][:count].tolist()


def _corners(box_xywh: np.ndarray) -> tuple[float, float, float, float]:
    x, y, width, height = (float(value) for value in box_xywh)
    return y, x, y + height, x + width


def tags_of(images: Iterable[GalleryImage]) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
    """Returns the groups, classes and error types for the filters."""
    images = list(images)
    groups = [group for group in GROUPS if any(group in image.groups for image in images)]
    classes = sorted({box.class_name for image in images for box in image.boxes})
    present = {box.kind for image in images for box in image.boxes if box.kind}
    return groups, classes, [kind.value for kind in KINDS if kind.value in present]
