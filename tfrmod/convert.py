"""A folder of annotated photos in, verified shards and their manifest out."""

import random
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tfrmod import atomic, placement, split
from tfrmod.annotated_image import AnnotatedImage
from tfrmod.archive import folder_fingerprint
from tfrmod.checks import CODES, Problem, ProblemLog
from tfrmod.errors import DatasetError
from tfrmod.examine import Settings, examine_all
from tfrmod.example import encode_example
from tfrmod.manifest import ImageSizes, Manifest, SplitInfo
from tfrmod.pixels import MAX_PIXELS
from tfrmod.placement import PROBLEMS_FILE
from tfrmod.shards import ShardInfo, shard_name, write_records
from tfrmod.sources import SOURCES, Listing, find_source
from tfrmod.spelling import spelling_problems
from tfrmod.workers import Workers, default_workers

_IMAGES_PER_SHARD = 800
_FEW_BYTES = 32 << 20  # Of photos; below this, starting processes costs more than they save.
_CHUNK = 32

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """What a user decides about one conversion."""

    label_map: Mapping[int, str] | None = None
    """{id: class name}, ids from 1; None numbers the classes found, in alphabetical order."""
    train_set: str | None = None
    """The list of ImageSets/Main to train on; None takes trainval with test, or train with val, where they exist."""
    val_set: str | None = None
    """The list of ImageSets/Main to validate on."""
    image_sets: bool = True
    """Follow the lists that the data set brings; off, it is divided by the fractions below in any case."""
    train_valid_split: float = 0.8
    """Share of the photos for training; 1.0 means no validation."""
    test_split: float = 0.0
    """Share of the photos for a test; taken from what training leaves over."""
    seed: int = 0
    """Decides the division and the order in the shards."""
    num_shards: int = -1
    """Files for each of train, val and test; -1 finds a good number."""
    strict: bool = False
    """End at the first fault instead of leaving out, counting and listing."""
    num_workers: int | None = None
    """Processes; None takes all cores. Of no influence on the result."""
    max_pixels: int = MAX_PIXELS
    """Photos with more pixels than this are left out, undecoded."""
    image_size: int | str | None = None
    """What hparams_config.yaml says of the network's image size (int or WIDTHxHEIGHT); None says nothing."""
    source_format: str | None = None
    """A name in `sources.SOURCES`; None looks."""
    dataset: str = ""
    """What the data set is called in the manifest, a URL for example."""

    def __post_init__(self) -> None:
        """Refuses values that cannot be meant."""
        if not 0 < self.train_valid_split <= 1:
            received = self.train_valid_split
            raise ValueError(f"train_valid_split is a share of the photos, above 0 and up to 1. Received {received}.")
        if not 0 <= self.test_split <= 1 - self.train_valid_split + 1e-9:
            raise ValueError(
                f"test_split is taken from what training leaves over, here {1 - self.train_valid_split:.3g} of the "
                f"photos (train_valid_split={self.train_valid_split}). Received {self.test_split}."
            )
        if self.num_shards == 0 or self.num_shards < -1:
            raise ValueError(f"num_shards is a number of files, or -1 to have it found. Received {self.num_shards}.")
        if self.num_workers is not None and self.num_workers < 1:
            raise ValueError(f"num_workers is a number of processes, at least 1. Received {self.num_workers}.")
        if self.label_map is not None:
            _check_label_map(self.label_map)

    def shaping(self) -> dict[str, Any]:
        """Returns the options that the shards depend on, as JSON gives them back."""
        options = asdict(self)
        del options["num_workers"]
        if self.label_map is not None:
            options["label_map"] = {str(class_id): name for class_id, name in sorted(self.label_map.items())}
        return options


def convert(
    folder: Path, output_dir: Path, options: ConvertOptions | None = None, *, on_progress: Progress | None = None
) -> Manifest:
    """Returns the manifest of the shards in `output_dir`, which are made unless they are there.

    The same photos, annotations and options give the same bytes, however many
    processes work; a second call with them finds the manifest and does no more.

    Args:
      folder: the data set, unpacked.
      output_dir: gets the shards, the split lists, problems.jsonl,
        hparams_config.yaml and, last, manifest.json.
      options: see there.
      on_progress: called with what is being done (checking, writing), and
        photos done and in all.

    Raises:
      DatasetError: no data set, no usable photo, or with `strict` any fault.
      OSError: the disk is full or may not be written; nothing half-done stays.
    """
    options = options or ConvertOptions()
    source = find_source(folder, options.source_format)
    if output_dir.resolve() == folder.resolve():
        raise DatasetError(f"The shards cannot lie among the photos in {folder}; name a folder within it, or another.")
    fingerprint = folder_fingerprint(folder, leave_out=output_dir)
    finished = placement.finished(output_dir, fingerprint, options.shaping())
    if finished is not None:
        return finished
    placement.refuse_strangers(output_dir)
    listing = SOURCES[source].listing(folder)
    log = ProblemLog(strict=options.strict)
    log.extend(listing.problems)
    num_workers = options.num_workers or default_workers()
    progress = on_progress or (lambda *_: None)
    with (
        atomic.staging_folder(output_dir / "conversion") as staging,
        Workers(num_workers if _is_much(folder, listing) else 1) as workers,
    ):
        (staging / "photos").mkdir()
        names = None if options.label_map is None else frozenset(options.label_map.values())
        settings = Settings(folder, source, staging / "photos", options.max_pixels, names)
        images = _examined(settings, listing, log, workers, progress)
        class_ids = _class_ids(images, options, log)
        parts = _divided(listing, images, options, log)
        (staging / "out").mkdir()
        splits = _written(staging / "out", parts, class_ids, options, workers, progress)
        (staging / "out" / PROBLEMS_FILE).write_text(log.as_jsonl(), encoding="utf-8")
        used = [image for part in parts.values() for image in part]
        manifest = Manifest(
            source=fingerprint,
            options=options.shaping(),
            label_map={class_id: name for name, class_id in class_ids.items()},
            splits=splits,
            max_instances_per_image=max(len(image.objects) for image in used),
            image_sizes=_sizes(used),
            problems=log.summary(),
            folder=output_dir,
        )
        placement.place(staging / "out", output_dir, manifest)
    return manifest


def _is_much(folder: Path, listing: Listing) -> bool:
    photos = (folder / entry.image for entry in listing.entries)
    return sum(photo.stat().st_size for photo in photos if photo.is_file()) >= _FEW_BYTES


def _check_label_map(label_map: Mapping[int, str]) -> None:
    for class_id, name in label_map.items():
        if not isinstance(class_id, int) or class_id < 1 or not isinstance(name, str) or not name.strip():
            raise ValueError(f"label_map gives each class a name and an id from 1. Received {class_id!r}: {name!r}.")
    twice = [name for name, count in Counter(label_map.values()).items() if count > 1]
    if twice:
        raise ValueError(f"label_map gives {twice[0]!r} more than one id.")


def _examined(
    settings: Settings, listing: Listing, log: ProblemLog, workers: Workers, progress: Progress
) -> dict[int, AnnotatedImage]:
    """Returns the usable photos by their position in the listing."""
    entries = listing.entries
    tasks = [(settings, first, entries[first : first + _CHUNK]) for first in range(0, len(entries), _CHUNK)]
    images: dict[int, AnnotatedImage] = {}
    index = 0
    for chunk in workers.map(examine_all, tasks):
        for image, problems in chunk:
            log.extend(problems)
            if image is not None:
                images[index] = image
            index += 1
        progress("checking", index, len(entries))
    if not images:
        found = _first_problems(log)
        raise DatasetError(f"None of the {len(entries)} photos in {settings.folder} can be used. {found}")
    return images


def _class_ids(images: Mapping[int, AnnotatedImage], options: ConvertOptions, log: ProblemLog) -> dict[str, int]:
    """Returns {class name: id}, in the order of the ids."""
    counts = Counter(thing.name for image in images.values() for thing in image.objects)
    if not counts:
        raise DatasetError(f"None of the {len(images)} photos has an object that can be used. {_first_problems(log)}")
    log.extend(spelling_problems(counts))
    if options.label_map is not None:
        return {name: class_id for class_id, name in sorted(options.label_map.items())}
    return {name: class_id for class_id, name in enumerate(sorted(counts), start=1)}


def _divided(
    listing: Listing, images: Mapping[int, AnnotatedImage], options: ConvertOptions, log: ProblemLog
) -> dict[str, list[AnnotatedImage]]:
    """Returns the photos of each split that has any, by name."""
    chosen = split.chosen_sets(listing.sets, options.train_set, options.val_set) if options.image_sets else None
    fractions = split.Fractions(options.train_valid_split, options.test_split)
    if chosen is None:
        order = sorted(images)
        sizes = split.fraction_sizes(len(order), fractions)
        parts = _stratified(order, images, sizes, options.seed)
    else:
        train, val = (set(listing.sets[name]) & images.keys() for name in chosen)
        for name in dict.fromkeys(chosen):
            log.extend(listing.set_problems.get(name, ()))
        log.extend(Problem("image_in_two_sets", images[index].filename) for index in sorted(train & val))
        log.extend(Problem("set_not_listed", images[index].filename) for index in sorted(images.keys() - train - val))
        val -= train
        for flag, name, members in zip(("--train_set", "--val_set"), chosen, (train, val), strict=True):
            if not members:
                raise DatasetError(
                    f"The list ImageSets/Main/{name}.txt ({flag}) leaves no usable photo for its side"
                    + (": every one of them is in the training list too." if train & set(listing.sets[name]) else ".")
                )
        num_test = min(round(len(images) * options.test_split), len(val) - 1)
        val_part, test_part = _stratified(sorted(val), images, [len(val) - num_test, num_test], options.seed)
        parts = [sorted(train), val_part, test_part]
    return {name: [images[index] for index in part] for name, part in zip(split.SPLITS, parts, strict=True) if part}


def _stratified(
    order: Sequence[int], images: Mapping[int, AnnotatedImage], sizes: Sequence[int], seed: int
) -> list[list[int]]:
    classes = [{thing.name for thing in images[index].objects} for index in order]
    return [[order[position] for position in part] for part in split.stratified(classes, sizes, seed)]


def _written(
    out: Path,
    parts: Mapping[str, Sequence[AnnotatedImage]],
    class_ids: Mapping[str, int],
    options: ConvertOptions,
    workers: Workers,
    progress: Progress,
) -> dict[str, SplitInfo]:
    """Writes the shards and the split lists, and returns what is in them."""
    tasks: list[tuple[Path, list[AnnotatedImage], dict[str, int]]] = []
    for name, images in parts.items():
        (out / f"{name}.txt").write_text("".join(f"{image.filename}\n" for image in images), encoding="utf-8")
        shuffled = list(images)
        random.Random(f"{options.seed} {name}").shuffle(shuffled)
        count = _num_shards(len(images), options.num_shards)
        bounds = [len(images) * index // count for index in range(count + 1)]
        tasks += [
            (out / shard_name(name, index, count), shuffled[bounds[index] : bounds[index + 1]], dict(class_ids))
            for index in range(count)
        ]
    shards: dict[str, list[ShardInfo]] = {name: [] for name in parts}
    done, total = 0, sum(map(len, parts.values()))
    for shard in workers.map(write_shard, tasks):
        shards[shard.name.partition("-")[0]].append(shard)
        done += shard.num_images
        progress("writing", done, total)
    return {name: _split_info(shards[name], images, class_ids) for name, images in parts.items()}


def write_shard(path: Path, images: Sequence[AnnotatedImage], class_ids: dict[str, int]) -> ShardInfo:
    """Writes one file of records; runs in a worker process.

    Raises:
      DatasetError: a photo is no longer the one that was checked.
    """
    return write_records(path, (encode_example(image.with_class_ids(class_ids).loaded()) for image in images))


def _num_shards(num_images: int, asked: int) -> int:
    """Returns how many files hold that many photos.

    At most 800 photos a file, as the facade before this one had it; up to 8
    files where that leaves 16 photos in each, because the loader shuffles files
    first and can read several at once.
    """
    wanted = asked if asked > 0 else max(-(-num_images // _IMAGES_PER_SHARD), min(8, num_images // 16))
    return max(1, min(wanted, num_images))


def _split_info(
    shards: Sequence[ShardInfo], images: Sequence[AnnotatedImage], class_ids: Mapping[str, int]
) -> SplitInfo:
    counts = Counter(thing.name for image in images for thing in image.objects)
    return SplitInfo(
        files=tuple(shards),
        num_images=len(images),
        num_boxes=counts.total(),
        num_negatives=sum(not image.objects for image in images),
        boxes_per_class={name: counts[name] for name in class_ids},
    )


def _sizes(images: Sequence[AnnotatedImage]) -> ImageSizes:
    heights, widths = [image.height for image in images], [image.width for image in images]
    return ImageSizes(
        median_height=int(statistics.median(heights)),
        median_width=int(statistics.median(widths)),
        max_height=max(heights),
        max_width=max(widths),
    )


def _first_problems(log: ProblemLog) -> str:
    """Returns, in one line, what was found wrong."""
    found = [
        f"{met.count} x {CODES[code]} (for example {met.files[0]})" for code, met in log.summary(max_files=1).items()
    ]
    return f"Found: {'; '.join(found)}." if found else ""
