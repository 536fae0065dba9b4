"""Parallel validation of every image of a listing; keeps one row of numbers per image."""

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
    """The facts on all images; about 45 bytes for each."""

    folder: Path
    """Of the chunks."""
    rows: np.ndarray
    """One for each entry of the listing, by position."""
    boxes_per_class: Counter[str] = field(default_factory=Counter)
    aliased: set[str] = field(default_factory=set)
    """Names that stood for another class somewhere."""
    has_masks: bool = False
    has_segmentation: bool = False
    _class_sets: dict[tuple[str, ...], int] = field(default_factory=dict)

    @property
    def positions(self) -> np.ndarray:
        """Returns the positions of the images that can be used."""
        return np.flatnonzero(self.rows["is_usable"])

    def classes(self, positions: np.ndarray) -> list[tuple[str, ...]]:
        """Returns the classes on each of some images."""
        known = list(self._class_sets)
        return [known[index] for index in self.rows["classes"][positions].tolist()]

    def places(self, positions: np.ndarray) -> np.ndarray:
        """Returns (n, 3) uint64: number of the chunk, offset within, and identity of each of some images."""
        rows = self.rows[positions]
        columns = (positions // chunk_store.CHUNK, rows["offset"], rows["identity"])
        return np.stack([column.astype(np.uint64) for column in columns], axis=1)

    def objects(self, position: int) -> Objects:
        """Returns what is on one image, read again from its chunk."""
        path = chunk_path(self.folder, position // chunk_store.CHUNK)
        return objects_of(chunk_store.read_image(path, int(self.rows["offset"][position])))

    def take(self, chunk: chunk_store.Chunk) -> None:
        """Takes the facts of one chunk in."""
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
    """Returns the facts on every image; what a killed run has left in `folder` is not validated again.

    Args:
      settings: of the conversion.
      entries: the listing.
      folder: gets the chunks; what is there was made with the same settings.
      log: takes the problems, in the order of the listing.
      workers: who does it.
      progress: called with "checking", images done and in all.

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
    """Returns the facts on some consecutive images and leaves the rest in a file; runs in a worker process.

    It may be called twice for one chunk, also at the same time.
    """
    stamp = _stamp(settings.folder, entries)
    chunk = chunk_store.read_chunk(path, stamp)
    if chunk is not None:
        return chunk
    return chunk_store.write_chunk(path, first, validate_images(settings, first, entries), stamp)


def chunk_path(folder: Path, number: int) -> Path:
    """Returns where a chunk is."""
    return folder / f"{number:06d}.chunk"


def _tasks(
    settings: Settings, entries: chunk_store.Entries, folder: Path
) -> Iterator[tuple[Settings, Path, int, list[Entry]]]:
    for number, chunk in enumerate(entries.chunks()):
        yield settings, chunk_path(folder, number), number * chunk_store.CHUNK, chunk


def _stamp(folder: Path, entries: Sequence[Entry]) -> list[tuple[str | int, ...]]:
    """Returns names, sizes and times of change: equal only where nothing was touched in between."""
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
