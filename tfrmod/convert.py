"""Conversion of a folder of annotated images to verified TFRecord shards and a manifest."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tfrmod import chunk_store, fileio, publish
from tfrmod.archive import folder_fingerprint
from tfrmod.class_names import spelling_problems
from tfrmod.convert_options import ConvertOptions
from tfrmod.counted import counted
from tfrmod.errors import DatasetError
from tfrmod.fileio import waiting_lock
from tfrmod.manifest import CONVERTER, ImageSizes, Manifest
from tfrmod.problems import CODES, MAX_CLASSES, Problem, ProblemLog
from tfrmod.publish import PROBLEMS_FILE
from tfrmod.sources import SOURCES, Listing, find_source
from tfrmod.sources.own_splits import with_splits
from tfrmod.split import ImageTable, split_dataset
from tfrmod.validate import Progress, ValidatedDataset, validate_dataset
from tfrmod.validate_image import Settings
from tfrmod.workers import Executor, Workers, default_workers
from tfrmod.write_shards import ShardFolders, write_shards

__all__ = ["PROBLEMS_FILE", "ConvertOptions", "convert"]

_STAGING = ".conversion"
_FEW_BYTES = 32 << 20  # Of images; below this, starting processes takes longer than it saves.


def convert(
    folder: Path,
    output_dir: Path,
    options: ConvertOptions | None = None,
    *,
    on_progress: Progress | None = None,
    workers: Executor | None = None,
) -> Manifest:
    """Returns the manifest of the shards in `output_dir`, which are created if they do not exist.

    The same images, annotations and options give the same bytes with any number
    of processes; a second call with them finds the manifest and does nothing
    else. A call after a killed one continues it: validated images and finished
    shards are checked and reused.

    Args:
      folder: the dataset, unpacked.
      output_dir: gets the shards, the split lists, problems.jsonl,
        hparams_config.yaml and, last, manifest.json.
      options: of the conversion.
      on_progress: called with the current phase (checking, writing), and
        the number of processed and of all images.
      workers: executor of the tasks; None starts processes here if there is enough to do.

    Raises:
      DatasetError: no dataset, no usable image, or with `strict` any fault.
      OSError: the disk is full or not writable; no partial files remain.
    """
    options = options or ConvertOptions()
    source = find_source(folder, options.source_format, semantic=options.semantic, image_classes=options.image_classes)
    if output_dir.resolve() == folder.resolve():
        raise DatasetError(f"The shards cannot be among the images in {folder}; name a folder within it, or another.")
    with waiting_lock(output_dir):
        fingerprint = folder_fingerprint(folder, leave_out=output_dir)
        finished = publish.finished_manifest(output_dir, fingerprint, options.shaping())
        if finished is not None:
            return finished
        publish.check_unknown_files(output_dir)
        with fileio.resumable_folder(output_dir / _STAGING) as staging:
            conversion = _Conversion(folder.resolve(), source, fingerprint, options)
            return conversion.run(staging, output_dir, workers, on_progress or (lambda *_: None))


def listing_for(folder: Path, source: str, options: ConvertOptions) -> Listing:
    """Returns the listing, limited to `max_images`, with its classes renamed by the aliases."""
    listing = with_splits(folder, SOURCES[source].listing(folder))
    most = options.max_images
    if most is not None and most < len(listing.entries):
        sets = {name: tuple(place for place in places if place < most) for name, places in listing.sets.items()}
        listing = replace(
            listing, entries=listing.entries[:most], sets={name: sets[name] for name in sets if sets[name]}
        )
    if listing.label_map is None or not options.label_aliases:
        return listing
    label_map: dict[int, str] = {}
    for class_id, name in sorted(listing.label_map.items()):
        meant = options.label_aliases.get(name, name)
        if meant not in label_map.values():
            label_map[class_id] = meant
    return replace(listing, label_map=label_map)


class _Conversion:
    """One conversion in progress."""

    def __init__(self, folder: Path, source: str, fingerprint: str, options: ConvertOptions) -> None:
        self.fingerprint = fingerprint
        self.options = options
        self.listing = listing_for(folder, source, options)
        label_map = options.label_map if options.label_map is not None else self.listing.label_map
        self.label_map = label_map
        if options.semantic and options.label_map is not None:
            _check_values(self.listing.label_map or {}, options.label_map)
        self.settings = Settings(
            folder,
            source,
            folder,
            max_pixels=options.max_pixels,
            class_names=None if label_map is None else frozenset(label_map.values()),
            aliases=dict(options.label_aliases or {}),
            longest_side=options.prepare_size,
            is_trusted=not options.verify,
            masks=options.include_masks or options.semantic,
            skip_difficult=options.skip_difficult,
        )

    def run(self, staging: Path, output_dir: Path, workers: Executor | None, progress: Progress) -> Manifest:
        """Writes the shards into `staging` and moves them into `output_dir`."""
        chunks, shards, notes = self._folders(staging)
        with (staging / PROBLEMS_FILE).open("w", encoding="utf-8") as problems:
            log = ProblemLog(strict=self.options.strict, file=problems)
            log.extend(self.listing.problems)
            entries = chunk_store.Entries(staging / "entries", self.listing.entries)
            engine = workers or Workers(self._num_workers())
            self.listing = replace(self.listing, entries=())  # Frees memory: there may be a hundred thousand entries.
            settings = self.settings._replace(staging=chunks)
            with engine:
                validated = validate_dataset(settings, entries, chunks, log, engine, progress)
            if nothing := self._nothing_usable(validated, entries, log):
                problems.flush()
                fileio.write_file(output_dir / PROBLEMS_FILE, (staging / PROBLEMS_FILE).read_bytes())
                raise DatasetError(f"{nothing} All problems are listed in {output_dir / PROBLEMS_FILE}.")
            class_ids = self._class_ids(validated, log)
            parts = self._parts(validated, entries, log)
            with engine:  # Started again, so that no idle processes use memory during the split.
                splits = write_shards(
                    ShardFolders(shards, notes), parts, validated, class_ids, self.options, engine, progress
                )
        _write_lists(shards, parts, entries)
        (staging / PROBLEMS_FILE).replace(shards / PROBLEMS_FILE)
        rows = validated.rows[np.concatenate(list(parts.values()))]
        manifest = Manifest(
            source=self.fingerprint,
            options=self.options.shaping(),
            label_map={class_id: name for name, class_id in class_ids.items()},
            splits=splits,
            max_instances_per_image=int(rows["num_objects"].max()),
            image_sizes=_sizes(rows),
            problems=log.summary(),
            has_masks=validated.has_masks or validated.has_segmentation,
            folder=output_dir,
        )
        publish.publish_shards(shards, output_dir, manifest)
        return manifest

    def _folders(self, staging: Path) -> tuple[Path, Path, Path]:
        """Returns the folders of chunks, shards and notes; removes those of another conversion."""
        settings = self.settings._replace(class_names=sorted(self.settings.class_names or ()))
        validation = _digest([CONVERTER, self.fingerprint, *map(repr, settings), self.options.max_images])
        writing = _digest([validation, self.options.shaping(), self.label_map])
        folders = (staging / f"chunks-{validation}", staging / f"shards-{writing}", staging / f"notes-{writing}")
        for left in staging.iterdir():
            if left not in folders:
                fileio.remove(left)
        for folder in folders:
            folder.mkdir(exist_ok=True)
            fileio.remove_partial(folder)
        return folders

    def _num_workers(self) -> int:
        """Returns 1 if starting several processes would take longer than they save."""
        num_workers = self.options.num_workers or default_workers()
        num_bytes = 0
        for entry in self.listing.entries:
            image = self.settings.folder / entry.image
            num_bytes += image.stat().st_size if image.is_file() else 0
            if num_bytes >= _FEW_BYTES:
                return num_workers
        return 1

    def _nothing_usable(self, validated: ValidatedDataset, entries: chunk_store.Entries, log: ProblemLog) -> str:
        """Returns a message that there are no usable images or objects, with the reason; "" if there are."""
        num_usable = len(validated.positions)
        if not num_usable:
            where = self.settings.folder
            return f"Of {counted(len(entries), 'image')} in {where}, none can be used. {_first_problems(log)}"
        if validated.boxes_per_class or validated.has_segmentation or self.listing.is_unlabelled:
            return ""
        return f"Of {counted(num_usable, 'image')}, none has an object that can be used. {_first_problems(log)}"

    def _class_ids(self, validated: ValidatedDataset, log: ProblemLog) -> dict[str, int]:
        """Returns {class name: id}, in the order of the ids."""
        counts = validated.boxes_per_class
        if len(counts) > MAX_CLASSES:
            raise DatasetError(
                f"The annotations in {self.settings.folder} name {len(counts):,} classes, where {MAX_CLASSES:,} are "
                f"the most that are supported; the first are {', '.join(sorted(counts)[:3])}. Are ids or free texts "
                "taken for class names? --label_map names the classes to keep."
            )
        unused = [name for name in self.options.label_aliases or {} if name not in validated.aliased]
        log.extend(Problem("alias_without_object", name) for name in unused)
        if self.options.include_masks and not (validated.has_masks or validated.has_segmentation):
            log.add(Problem("masks_absent", self.settings.folder.name))
        log.extend(spelling_problems(counts))
        if self.label_map is not None:
            return {name: class_id for class_id, name in sorted(self.label_map.items())}
        return {name: class_id for class_id, name in enumerate(sorted(counts), start=1)}

    def _parts(
        self, validated: ValidatedDataset, entries: chunk_store.Entries, log: ProblemLog
    ) -> dict[str, np.ndarray]:
        positions = validated.positions
        images = ImageTable(
            positions=positions,
            classes=validated.classes(positions),
            identities=validated.rows["identity"][positions],
            image_hashes=validated.rows["image_hash"][positions],
            filename=lambda position: entries[position].image,
            objects=validated.objects,
            num_objects=validated.rows["num_objects"][positions],
        )
        return split_dataset(images, self.listing, self.options, log)


def _write_lists(folder: Path, parts: Mapping[str, np.ndarray], entries: chunk_store.Entries) -> None:
    """Writes the names of the images of each split, in the order of the listing."""
    for name, positions in parts.items():
        wanted = np.zeros(len(entries), bool)
        wanted[positions] = True
        with (folder / f"{name}.txt").open("w", encoding="utf-8", errors="surrogateescape") as file:
            for number, chunk in enumerate(entries.chunks()):
                is_wanted = wanted[number * chunk_store.CHUNK : (number + 1) * chunk_store.CHUNK].tolist()
                file.writelines(f"{entry.image}\n" for entry, wants in zip(chunk, is_wanted, strict=True) if wants)


def _sizes(rows: np.ndarray) -> ImageSizes:
    heights, widths = rows["height"], rows["width"]
    return ImageSizes(
        median_height=int(np.median(heights)),
        median_width=int(np.median(widths)),
        min_height=int(heights.min()),
        min_width=int(widths.min()),
        max_height=int(heights.max()),
        max_width=int(widths.max()),
    )


def _check_values(values: Mapping[int, str], label_map: Mapping[int, str]) -> None:
    """Checks that a label map names the values of semantic maps, which it does not change.

    Raises:
      DatasetError: it leaves a value out, or gives a name of the data to another value.
    """
    moved = [
        f"{name} is {value} in the data and {class_id} in the label map"
        for value, name in values.items()
        for class_id, label in label_map.items()
        if label == name and class_id != value
    ]
    if unnamed := [f"{value} ({name})" for value, name in values.items() if value not in label_map]:
        moved.append(f"no name for {', '.join(unnamed[:3])}{' …' if len(unnamed) > 3 else ''}")
    if moved:
        raise DatasetError(
            "A label map of segmentation names the values of the maps, and each needs one; it does not change them. "
            f"Received {'; '.join(moved[:3])}. Leave --label_map out, or name every value."
        )


def _digest(values: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def _first_problems(log: ProblemLog) -> str:
    """Returns a line with the problems found, with the reason of the first one of each code."""
    found = []
    for code, met in log.summary().items():
        reason = log.first_reason(code)
        found.append(f"{met.count} x {CODES[code]} (for example {met.files[0]}{f': {reason}' if reason else ''})")
    return f"Found: {'; '.join(found)}." if found else ""
