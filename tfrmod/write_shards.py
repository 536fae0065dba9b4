"""Parallel writing of shards; finished shards of an interrupted run are reused."""

import hashlib
import json
import random
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfrmod import chunk_store, fileio
from tfrmod.annotated_image import AnnotatedImage
from tfrmod.convert_options import ConvertOptions
from tfrmod.example import encode_example
from tfrmod.manifest import SplitInfo, shard_fault
from tfrmod.tfrecord_io import ShardInfo, shard_name, write_records
from tfrmod.validate import Progress, ValidatedDataset, chunk_path
from tfrmod.workers import Executor

_IMAGES_PER_SHARD = 800


class ShardFolders(NamedTuple):
    """Folders of one conversion."""

    shards: Path
    """Has only finished files."""
    notes: Path
    """Has a note on each finished shard, by which the next run recognizes it."""


class Shard(NamedTuple):
    """One shard to write."""

    name: str
    chunks: Path
    """Folder of the validated images."""
    images: np.ndarray
    """(n, 3) uint64: chunk number, offset in the chunk, and identity of each image, in the order of the records."""
    class_ids: dict[str, int]


class WrittenShard(NamedTuple):
    """One shard that was written."""

    info: ShardInfo
    num_negatives: int
    boxes_per_class: dict[str, int]
    images_per_class: dict[str, int]


def write_shards(
    places: ShardFolders,
    parts: Mapping[str, np.ndarray],
    validated: ValidatedDataset,
    class_ids: Mapping[str, int],
    options: ConvertOptions,
    workers: Executor,
    progress: Progress,
) -> dict[str, SplitInfo]:
    """Writes the shards of all splits, and returns their content.

    Args:
      places: the two folders.
      parts: positions of the images by split.
      validated: statistics of all images.
      class_ids: {class name: id}, in the order of the ids.
      options: of the conversion.
      workers: executor of the tasks.
      progress: called with "writing", and the number of processed and of all images.

    Raises:
      DatasetError: an image has changed since it was validated.
      OSError: the disk is full.
    """
    shards = _shards(parts, validated, dict(class_ids), options)
    found: dict[str, list[WrittenShard]] = {name: [] for name in parts}
    done, total = 0, sum(map(len, parts.values()))
    for shard in workers.map(write_shard, ((places, shard) for shard in shards)):
        found[shard.info.name.partition("-")[0]].append(shard)
        done += shard.info.num_images
        progress("writing", done, total)
    return {name: _split_info(shards, class_ids) for name, shards in found.items()}


def write_shard(places: ShardFolders, shard: Shard) -> WrittenShard:
    """Writes one TFRecord file if it does not exist; runs in a worker process.

    It may be called twice for one shard, also at the same time.

    Raises:
      DatasetError: an image has changed since it was validated.
    """
    note = places.notes / f"{shard.name}.json"
    key = hashlib.sha256(shard.images.tobytes() + json.dumps(shard.class_ids).encode()).hexdigest()
    earlier = _read_note(note, key)
    if earlier is not None and not shard_fault(places.shards, earlier.info):
        return earlier
    boxes: Counter[str] = Counter()
    images: Counter[str] = Counter()
    num_negatives = 0

    def records() -> Iterator[bytes]:
        nonlocal num_negatives
        for chunk, offset, _ in shard.images.tolist():
            image: AnnotatedImage = chunk_store.read_image(chunk_path(shard.chunks, chunk), offset)
            names = [obj.name for obj in image.objects]
            boxes.update(names)
            images.update(set(names))
            num_negatives += not names
            yield encode_example(image.with_class_ids(shard.class_ids).loaded())

    info = write_records(places.shards / shard.name, records())
    result = WrittenShard(info, num_negatives, dict(boxes), dict(images))
    content = {"key": key, **result._asdict(), "info": asdict(info)}
    fileio.write_file(note, json.dumps(content))
    return result


def num_shards(num_images: int, asked: int) -> int:
    """Returns the number of files for that many images.

    At most 800 images per file, as in the converter that this one replaced; up
    to 8 files if each then has at least 16 images, because the loader shuffles
    files first and can read several at once.
    """
    wanted = asked if asked > 0 else max(-(-num_images // _IMAGES_PER_SHARD), min(8, num_images // 16))
    return max(1, min(wanted, num_images))


def _shards(
    parts: Mapping[str, np.ndarray], validated: ValidatedDataset, class_ids: dict[str, int], options: ConvertOptions
) -> Iterator[Shard]:
    for name, positions in parts.items():
        order = array("q", positions)
        random.Random(f"{options.seed} {name}").shuffle(order)
        count = num_shards(len(order), options.num_shards)
        bounds = [len(order) * index // count for index in range(count + 1)]
        for index in range(count):
            images = validated.places(np.array(order[bounds[index] : bounds[index + 1]]))
            yield Shard(shard_name(name, index, count), validated.folder, images, class_ids)


def _read_note(path: Path, key: str) -> WrittenShard | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("key") != key:
            return None
        return WrittenShard(**{**content, "info": ShardInfo(**content["info"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _split_info(shards: Sequence[WrittenShard], class_ids: Mapping[str, int]) -> SplitInfo:
    boxes = sum((Counter(shard.boxes_per_class) for shard in shards), Counter())
    images = sum((Counter(shard.images_per_class) for shard in shards), Counter())
    return SplitInfo(
        files=tuple(shard.info for shard in shards),
        num_images=sum(shard.info.num_images for shard in shards),
        num_boxes=boxes.total(),
        num_negatives=sum(shard.num_negatives for shard in shards),
        boxes_per_class={name: boxes[name] for name in class_ids},
        images_per_class={name: images[name] for name in class_ids},
    )
