"""Dataset statistics, collected in one pass over images and annotations, or over records."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from efficientdet_pipeline.doctor.dataset_stats import DatasetStats, ImageStats
from tfrmod.annotated_image import AnnotatedImage
from tfrmod.class_names import spelling_problems
from tfrmod.convert import listing_for
from tfrmod.convert_options import ConvertOptions
from tfrmod.errors import DatasetError
from tfrmod.example import decode_example
from tfrmod.exif import UPRIGHT
from tfrmod.image_file import CheckedImage, check_image
from tfrmod.image_headers import ImageError
from tfrmod.near_duplicates import objects_of
from tfrmod.problems import Problem, ProblemLog
from tfrmod.sources import Listing, find_source
from tfrmod.split import ImageTable, chosen_sets, split_dataset
from tfrmod.tfrecord_io import read_records
from tfrmod.validate_image import Settings, ValidatedImage, placed_objects, validate_images
from tfrmod.workers import Workers

_CHUNK = 32
_FAR_OUTSIDE = 2.0
"""Records store boxes as fractions, 0 to 1; from here on they are pixels."""
# Leaks and small splits, as the division reports them; `check_splits` reports them with names and remedies.
_CHECKED_HERE = {"split_leak", "split_thin"}
Progress = Callable[[int, int | None], None]


def annotation_stats(
    folder: Path, options: ConvertOptions, staging: Path, workers: Workers, progress: Progress
) -> DatasetStats:
    """Returns the statistics of annotated images, validated by the code that converts them.

    Args:
      folder: the data set, unpacked.
      options: conversion options of a training; they decide the splits.
      staging: an empty folder for images that have to be re-encoded.
      workers: the workers that validate.
      progress: called with the number of images done and in total.

    Raises:
      DatasetError: the folder has no data set.
    """
    source = find_source(folder, options.source_format)
    listing = listing_for(folder, source, options)
    label_map = options.label_map if options.label_map is not None else listing.label_map
    settings = Settings(
        folder,
        source,
        staging,
        max_pixels=options.max_pixels,
        class_names=None if label_map is None else frozenset(label_map.values()),
        aliases=dict(options.label_aliases or {}),
    )
    log = ProblemLog()
    log.extend(listing.problems)
    entries = listing.entries
    tasks = [(settings, first, entries[first : first + _CHUNK]) for first in range(0, len(entries), _CHUNK)]
    seen: dict[int, ImageStats] = {}
    position = 0
    for chunk in workers.map(validate_images, tasks):
        for each in chunk:
            log.extend(each.problems)
            if each.image is not None:
                seen[position] = ImageStats(each.image, each.image_hash)
            position += 1
        progress(position, len(entries))
    log.extend(spelling_problems(Counter(obj.name for each in seen.values() for obj in each.image.objects)))
    parts = _split(seen, listing, options, log) if seen else {}
    listed = {position for part in parts.values() for position in part.tolist()}
    return DatasetStats(
        splits={name: [seen[position] for position in part] for name, part in parts.items()},
        problems=[problem for problem in log.problems if problem.code not in _CHECKED_HERE],
        num_files=len(entries),
        label_map=label_map or {},
        unlisted=[each for position, each in seen.items() if position not in listed],
        lists={name: frozenset(entries[place].image for place in places) for name, places in listing.sets.items()},
        chosen_lists=chosen_sets(listing.sets, options.train_set, options.val_set) if options.image_sets else None,
    )


def _split(
    seen: Mapping[int, ImageStats], listing: Listing, options: ConvertOptions, log: ProblemLog
) -> dict[str, np.ndarray]:
    """Returns the indices of the images in each split, as the conversion divides them."""
    images = ImageTable(
        positions=np.array(list(seen)),
        classes=[{obj.name for obj in each.image.objects} for each in seen.values()],
        identities=np.array([int(each.image.sha256[:16], 16) for each in seen.values()], np.uint64),
        image_hashes=np.array([each.image_hash or 0 for each in seen.values()], np.uint64),
        filename=lambda position: seen[position].image.filename,
        objects=lambda position: objects_of(seen[position].image),
        num_objects=np.array([len(each.image.objects) for each in seen.values()]),
    )
    return split_dataset(images, listing, options, log)


def record_stats(files: Mapping[str, Sequence[Path]], workers: Workers, progress: Progress) -> DatasetStats:
    """Returns the statistics of records, ours or google/automl's, with every image decoded.

    Args:
      files: shards by split.
      workers: the workers that read.
      progress: called with the number of files done and in total.

    Raises:
      DatasetError: a file is damaged.
    """
    tasks = [(file, True, None) for part in files.values() for file in part]
    validated: Iterator[list[ValidatedImage]] = workers.map(validate_shard, tasks)
    return _stats_of_records(files, validated, progress, is_sample=False)


def sampled_record_stats(files: Mapping[str, Sequence[Path]], most: int) -> DatasetStats:
    """Returns the statistics of the first records of every shard, without decoding images, for a quick check.

    Args:
      files: shards by split.
      most: records per split.
    """
    limits = {name: -(-most // max(1, len(part))) for name, part in files.items()}
    tasks = [(file, False, limits[name] + 1) for name, part in files.items() for file in part]
    validated = [validate_shard(*task) for task in tasks]
    is_sample = any(len(found) > limit - 1 for found, (_, _, limit) in zip(validated, tasks, strict=True))
    return _stats_of_records(files, iter(validated), lambda *_: None, is_sample=is_sample)


def validate_shard(file: Path, decode: bool, limit: int | None) -> list[ValidatedImage]:
    """Returns the validated images of the records in one file; runs in a worker process.

    Args:
      file: a shard.
      decode: decode the images too.
      limit: records to read; None means all.
    """
    records = itertools.islice(read_records(file), limit)
    return [_of_record(record, f"{file.name} record {number}", decode) for number, record in enumerate(records)]


def _of_record(record: bytes, place: str, decode: bool) -> ValidatedImage:
    """Returns the image of one record, named by its file name or else its place, with boxes clipped to the image."""
    try:
        annotated = decode_example(record)
    except DatasetError as error:
        return ValidatedImage(None, (Problem("record_unreadable", place, str(error)),))
    annotated = replace(annotated, filename=annotated.filename or place)
    problems: list[Problem] = []
    stored = CheckedImage(annotated.encoded, annotated.format, annotated.height, annotated.width, UPRIGHT, "")
    if decode or not annotated.height:
        try:
            stored = check_image(annotated.encoded)
        except ImageError as error:
            return ValidatedImage(None, (Problem(error.code, annotated.filename, str(error)),))
        if stored.orientation != UPRIGHT:
            problems.append(Problem("record_rotated", annotated.filename, f"orientation {stored.orientation}"))
            # TensorFlow's decoders ignore the rotation, and so does the training: boxes refer to the stored pixels.
            height, width = stored.stored_size
            stored = stored._replace(height=height, width=width, orientation=UPRIGHT, given_size=None)
    sides = (annotated.height or 1, annotated.width or 1) * 2
    if any(
        abs(value / side) > _FAR_OUTSIDE
        for obj in annotated.objects
        for value, side in zip(obj.box, sides, strict=True)
    ):
        problems.append(Problem("boxes_not_unit", annotated.filename))
        return ValidatedImage(replace(annotated, objects=(), encoded=b""), tuple(problems))
    clipped = placed_objects(_in_pixels(annotated, stored), stored)
    objects = tuple(obj if obj.name else obj._replace(name=str(obj.class_id)) for obj in clipped.objects)
    image = replace(annotated, objects=objects, height=stored.height, width=stored.width, encoded=b"")
    return ValidatedImage(image, (*problems, *clipped.problems), stored.image_hash)


def _in_pixels(annotated: AnnotatedImage, stored: CheckedImage) -> AnnotatedImage:
    """Returns the image with boxes in pixels where its record does not state the image's size."""
    if annotated.height and annotated.width:
        return annotated
    sides = (stored.height, stored.width) * 2
    objects = tuple(
        obj._replace(box=tuple(value * side for value, side in zip(obj.box, sides, strict=True)))  # type: ignore[arg-type]
        for obj in annotated.objects
    )
    return replace(annotated, objects=objects)


def _stats_of_records(
    files: Mapping[str, Sequence[Path]],
    validated: Iterator[list[ValidatedImage]],
    progress: Progress,
    *,
    is_sample: bool,
) -> DatasetStats:
    splits: dict[str, list[ImageStats]] = {name: [] for name in files}
    problems: list[Problem] = []
    total = sum(map(len, files.values()))
    num_records = done = 0
    names: dict[int, str] = {}
    for split, part in files.items():
        for _ in part:
            for each in next(validated):
                num_records += 1
                problems += each.problems
                if each.image is not None:
                    splits[split].append(ImageStats(each.image, each.image_hash))
                    names.update((obj.class_id, obj.name) for obj in each.image.objects)
            done += 1
            progress(done, total)
    return DatasetStats(
        splits=splits,
        problems=problems,
        num_files=num_records,
        class_ids=dict(sorted(names.items())),
        is_sample=is_sample,
    )
