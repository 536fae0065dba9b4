"""Parallel validation of all images of a listing; keeps one row of numbers per image."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tfrmod import chunk_store
from tfrmod.near_duplicates import Objects, objects_of
from tfrmod.problems import ProblemLog
from tfrmod.sources import Entry
from tfrmod.validate_image import Settings, validate_images
from tfrmod.workers import Executor

Progress = Callable[[str, int, int], None]
_ROW = np.dtype(
    [
        ("offset", np.int64),
        ("identity", np.uint64),
        ("image_hash", np.uint64),
        ("height", np.uint32),
        ("width", np.uint32),
        ("num_objects", np.uint32),
        ("classes", np.uint32),
        ("is_usable", bool),
    ]
)


@dataclass
class ValidatedDataset:
    """Statistics of all images; about 45 bytes per image."""

    folder: Path
    """Folder of the chunks."""
    rows: np.ndarray
    """One per entry of the listing, by position."""
    boxes_per_class: Counter[str] = field(default_factory=Counter)
    aliased: set[str] = field(default_factory=set)
    """Names that were replaced by another class."""
    has_masks: bool = False
    has_segmentation: bool = False
    _class_sets: dict[tuple[str, ...], int] = field(default_factory=dict)

    @property
    def positions(self) -> np.ndarray:
        """Returns the positions of the usable images."""
        return np.flatnonzero(self.rows["is_usable"])

    def classes(self, positions: np.ndarray) -> list[tuple[str, ...]]:
        """Returns the classes of each of some images."""
        known = list(self._class_sets)
        return [known[index] for index in self.rows["classes"][positions].tolist()]

    def places(self, positions: np.ndarray) -> np.ndarray:
        """Returns (n, 3) uint64: chunk number, offset in the chunk, and identity of each of some images."""
        rows = self.rows[positions]
        columns = (positions // chunk_store.CHUNK, rows["offset"], rows["identity"])
        return np.stack([column.astype(np.uint64) for column in columns], axis=1)

    def objects(self, position: int) -> Objects:
        """Returns the objects of one image, read from its chunk."""
        path = chunk_path(self.folder, position // chunk_store.CHUNK)
        return objects_of(chunk_store.read_image(path, int(self.rows["offset"][position])))

    def take(self, chunk: chunk_store.Chunk) -> None:
        """Adds the statistics of one chunk."""
        self.boxes_per_class.update(chunk.boxes_per_class)
        self.aliased.update(chunk.aliased)
        for row in chunk.rows:
            index = self._class_sets.setdefault(row.classes, len(self._class_sets))
            sides = (row.height, row.width, row.num_objects)
            self.rows[row.position] = (row.offset, row.identity, row.image_hash, *sides, index, True)
            self.has_masks |= row.has_masks
            self.has_segmentation |= row.has_segmentation


def validate_dataset(
    settings: Settings,
    entries: chunk_store.Entries,
    folder: Path,
    log: ProblemLog,
    workers: Executor,
    progress: Progress,
) -> ValidatedDataset:
    """Returns the statistics of all images; results of a killed run in `folder` are reused.

    Args:
      settings: of the conversion.
      entries: the listing.
      folder: of the chunks; existing ones have the same settings.
      log: gets the problems, in the order of the listing.
      workers: executor of the tasks.
      progress: called with "checking", and the number of processed and of all images.

    Raises:
      DatasetError: with `log.strict`, at the first fault.
      OSError: the disk is full.
    """
    found = ValidatedDataset(folder, np.zeros(len(entries), _ROW))
    done = 0
    for chunk in workers.map(validate_chunk, _tasks(settings, entries, folder)):
        found.take(chunk)
        log.extend(chunk.problems)
        done = min(done + chunk_store.CHUNK, len(entries))
        progress("checking", done, len(entries))
    return found


def validate_chunk(settings: Settings, path: Path, first: int, entries: Sequence[Entry]) -> chunk_store.Chunk:
    """Returns the statistics of some consecutive images and writes their chunk; runs in a worker process.

    It may be called twice for one chunk, also at the same time.
    """
    stamp = _stamp(settings.folder, entries)
    chunk = chunk_store.read_chunk(path, stamp)
    if chunk is not None:
        return chunk
    return chunk_store.write_chunk(path, first, validate_images(settings, first, entries), stamp)


def chunk_path(folder: Path, number: int) -> Path:
    """Returns the path of a chunk."""
    return folder / f"{number:06d}.chunk"


def _tasks(
    settings: Settings, entries: chunk_store.Entries, folder: Path
) -> Iterator[tuple[Settings, Path, int, list[Entry]]]:
    for number, chunk in enumerate(entries.chunks()):
        yield settings, chunk_path(folder, number), number * chunk_store.CHUNK, chunk


def _stamp(folder: Path, entries: Sequence[Entry]) -> list[tuple[str | int, ...]]:
    """Returns names, sizes and modification times: equal only if no file was modified."""
    return [
        (os.path.join(folder, entry.image), *_state(folder, entry.image), *_state(folder, entry.annotation))
        for entry in entries
    ]


def _state(folder: Path, name: str) -> tuple[int, int]:
    try:
        status = os.stat(os.path.join(folder, name))
    except (OSError, ValueError):
        return 0, 0
    return status.st_size, status.st_mtime_ns
