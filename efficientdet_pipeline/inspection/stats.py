"""Statistics of shards. n: boxes of a split."""

import itertools
import math
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from efficientdet_pipeline.inspection.shard_reader import DamagedRecord, ReadRecord, RecordLocation, read_shard
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject

_SHARD_NUMBER = re.compile(r"[-_.]?\d{5}-of-\d{5}.*$")
MAX_SPLITS = 6
OUTSIDE = 0.01
"""Share of an image's side by which a box may exceed the edge before it counts as unusual."""


@dataclass
class SplitStats:
    """Statistics of one split."""

    name: str
    files: list[Path] = field(default_factory=list)
    empty_files: list[Path] = field(default_factory=list)
    locations: list[RecordLocation] = field(default_factory=list)
    """Every readable record, in order."""
    boxes_per_image: list[int] = field(default_factory=list)
    shapes: "array[float]" = field(default_factory=lambda: array("d"))
    """Five numbers per box, flat: class id, height, width, height and width of its image, in pixels."""
    images_with: Counter[int] = field(default_factory=Counter)
    """Images by class id."""
    co_occurrences: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Images by pair of class ids, the smaller one first."""
    image_sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Images by (height, width)."""
    num_crowd: int = 0
    num_masked: int = 0
    """Images with instance or semantic masks."""
    unusual: Counter[str] = field(default_factory=Counter)
    """Readable but unusual boxes, by what is unusual."""
    damaged: list[DamagedRecord] = field(default_factory=list)

    @property
    def num_images(self) -> int:
        """Returns the number of readable records."""
        return len(self.locations)

    @property
    def num_boxes(self) -> int:
        """Returns the number of boxes in these records."""
        return len(self.shapes) // 5

    def table(self) -> np.ndarray:
        """Returns the numbers of `shapes`, one row per box (n, 5)."""
        return np.array(self.shapes, np.float64).reshape(-1, 5)

    @property
    def num_negatives(self) -> int:
        """Returns the number of images without boxes."""
        return self.boxes_per_image.count(0)

    @property
    def boxes_of(self) -> Counter[int]:
        """Returns the number of boxes by class id."""
        return Counter(map(int, self.shapes[::5]))


class InspectionStats(NamedTuple):
    """Statistics of all shards."""

    splits: tuple[SplitStats, ...]
    label_map: dict[int, str]
    """Every class id in the records or with a given name, in order."""

    @property
    def damaged(self) -> list[DamagedRecord]:
        """Returns every damaged record."""
        return [damage for split in self.splits for damage in split.damaged]


def count_splits(
    files: Mapping[str, Sequence[Path]],
    label_map: Mapping[int, str],
    on_progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> InspectionStats:
    """Returns the statistics of each split, reading every record once.

    Args:
      files: shards by split.
      label_map: names that take precedence over those in the records.
      on_progress: called after each file with the number of files read, and of all.
    """
    names: dict[int, str] = {}
    splits = []
    done, total = 0, sum(map(len, files.values()))
    for name, paths in files.items():
        split = SplitStats(name)
        for path in paths:
            _count_shard(path, split, names)
            done += 1
            on_progress(done, total)
        splits.append(split)
    met = {class_id for split in splits for class_id in split.boxes_of}
    named = {class_id: names.get(class_id, str(class_id)) for class_id in met} | dict(label_map)
    return InspectionStats(tuple(splits), dict(sorted(named.items())))


def split_names(files: Iterable[Path]) -> dict[str, list[Path]]:
    """Returns shards by split, which is the part of their names before the number.

    >>> split_names([Path("train-00000-of-00002.tfrecord"), Path("a.record")])
    {"train": [Path("train-00000-of-00002.tfrecord")], "a": [Path("a.record")]}
    """
    found: dict[str, list[Path]] = {}
    for path in files:
        name = _SHARD_NUMBER.sub("", path.name) or path.name
        found.setdefault(name if name != path.name else path.stem, []).append(path)
    # More groups than a chart can distinguish are not splits but files with unrelated names.
    return found if len(found) <= MAX_SPLITS else {"shards": [path for paths in found.values() for path in paths]}


def _count_shard(path: Path, split: SplitStats, names: dict[int, str]) -> None:
    split.files.append(path)
    if not path.stat().st_size:
        split.empty_files.append(path)
    for found in read_shard(path):
        if isinstance(found, DamagedRecord):
            split.damaged.append(found)
        else:
            _count_record(found, split, names)


def _count_record(reading: ReadRecord, split: SplitStats, names: dict[int, str]) -> None:
    image = reading.image
    split.locations.append(reading.location)
    split.boxes_per_image.append(len(image.objects))
    split.image_sizes[image.height, image.width] += 1
    for obj in image.objects:
        if obj.name:
            names.setdefault(obj.class_id, obj.name)
        y0, x0, y1, x1 = obj.box
        split.shapes.extend((obj.class_id, y1 - y0, x1 - x0, image.height, image.width))
        split.num_crowd += obj.is_crowd
        split.unusual.update(_unusual_properties(obj, image))
    split.num_masked += bool(image.segmentation) or any(obj.mask for obj in image.objects)
    classes = sorted({obj.class_id for obj in image.objects})
    split.images_with.update(classes)
    split.co_occurrences.update(itertools.combinations(classes, 2))


def _unusual_properties(obj: AnnotatedObject, image: AnnotatedImage) -> list[str]:
    y0, x0, y1, x1 = obj.box
    if not all(map(math.isfinite, obj.box)):
        return ["with coordinates that are not numbers"]
    odd = []
    if y1 <= y0 or x1 <= x0:
        odd.append("without area")
    beyond_y = max(-min(y0, y1), max(y0, y1) - image.height) / image.height
    beyond_x = max(-min(x0, x1), max(x0, x1) - image.width) / image.width
    if max(beyond_y, beyond_x) > OUTSIDE:
        odd.append("extending beyond the image")
    if obj.class_id < 1:
        odd.append("with a class id below 1")
    return odd


def side_shares(split: SplitStats, canvas: tuple[int, int]) -> np.ndarray:
    """Returns sqrt(area) of each box on the network's canvas, as a share of the canvas side, (n,).

    Args:
      split: statistics of the split.
      canvas: height and width in pixels; an image is scaled to fit.
    """
    _, heights, widths, image_heights, image_widths = split.table().T
    scales = np.minimum(canvas[0] / image_heights, canvas[1] / image_widths)
    return np.sqrt(np.maximum(heights, 0) * np.maximum(widths, 0)) * scales / math.sqrt(canvas[0] * canvas[1])


def aspect_ratios(split: SplitStats) -> np.ndarray:
    """Returns width / height of each box with an area, (n,)."""
    _, heights, widths, _, _ = split.table().T
    whole = (heights > 0) & (widths > 0) & np.isfinite(heights * widths)
    return widths[whole] / heights[whole]


def summary(contents: InspectionStats, canvas: tuple[int, int]) -> dict[str, Any]:
    """Returns the content of counts.json."""
    return {
        "classes": {str(class_id): name for class_id, name in contents.label_map.items()},
        "canvas": {"height": canvas[0], "width": canvas[1]},
        "splits": {split.name: _split_summary(split, contents.label_map, canvas) for split in contents.splits},
    }


def _split_summary(split: SplitStats, label_map: Mapping[int, str], canvas: tuple[int, int]) -> dict[str, Any]:
    boxes = split.boxes_of
    return {
        "files": len(split.files),
        "empty_files": [str(path) for path in split.empty_files],
        "images": split.num_images,
        "images_without_boxes": split.num_negatives,
        "boxes": split.num_boxes,
        "crowd_boxes": split.num_crowd,
        "images_with_masks": split.num_masked,
        "boxes_per_image": _quantiles(split.boxes_per_image),
        "box_side_share": _quantiles(side_shares(split, canvas)),
        "aspect_ratio": _quantiles(aspect_ratios(split)),
        "image_sizes": [
            {"height": height, "width": width, "images": count}
            for (height, width), count in split.image_sizes.most_common(20)
        ],
        "per_class": {
            str(class_id): {"name": name, "boxes": boxes[class_id], "images": split.images_with[class_id]}
            for class_id, name in label_map.items()
        },
        "images_with_both": [
            {"classes": list(pair), "images": count} for pair, count in sorted(split.co_occurrences.items())
        ],
        "odd_boxes": dict(split.unusual),
        "damaged": [
            {
                "file": str(damage.location.file),
                "record": damage.location.record,
                "offset": damage.location.offset,
                "what": damage.what,
            }
            for damage in split.damaged
        ],
    }


def _quantiles(values: Any) -> dict[str, float]:
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return {}
    names = ("min", "p10", "median", "p90", "max")
    found = np.percentile(values, (0, 10, 50, 90, 100))
    return {name: round(float(value), 5) for name, value in zip((*names, "mean"), (*found, values.mean()), strict=True)}
