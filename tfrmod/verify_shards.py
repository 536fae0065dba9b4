"""Verification of shards: every record is read and its checksum compared."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from tfrmod.errors import DatasetError
from tfrmod.example import decode_example
from tfrmod.manifest import FILE_NAME, Manifest, shard_fault
from tfrmod.patterns import split_patterns
from tfrmod.tfrecord_io import ShardInfo, scan_records

_NUMBERED = re.compile(r"(.*)-\d{5}-of-(\d{5})(.*)", re.DOTALL)


@dataclass(frozen=True)
class ShardReport:
    """Result of the verification of one file."""

    path: Path
    num_records: int
    """Number of intact records."""
    faults: tuple[str, ...]
    """One line each; empty if there are none."""


def shard_report(path: Path, expected: ShardInfo | None) -> ShardReport:
    """Returns the faults of one file: its checksums, its records, and its hash if that is known.

    Args:
      path: the file.
      expected: entry of the manifest; None if there is none.
    """
    if not path.is_file():
        return ShardReport(path, 0, ("is missing",))
    num_records, faults = 0, []
    for number, (offset, data, damage) in enumerate(scan_records(path)):
        fault = damage or _parse_fault(data)
        num_records += not fault
        if fault:
            faults.append(f"record {number} (counted from 0, at byte {offset}): {fault}")
    if expected:
        # A damaged record implies another hash; another size is reported too.
        stated = shard_fault(path.parent, expected, contents=not faults).removeprefix(f"{path.name} ")
        faults = [stated, *faults] if stated else faults
    return ShardReport(path, num_records, tuple(faults))


def missing_shards(files: Iterable[Path], pattern: str) -> list[Path]:
    """Returns the missing files of a pattern, by the numbers in the names of the existing ones.

    Args:
      files: the existing files; a name such as train-00003-of-00010.tfrecord has the number of files.
      pattern: globs, separated by commas.
    """
    files = set(files)
    names = [Path(part).name for part in split_patterns(pattern)]
    series = {
        (path.parent, found[1], found[2], found[3]) for path in files if (found := _NUMBERED.fullmatch(path.name))
    }
    promised = {
        folder / f"{prefix}-{index:05d}-of-{count}{ending}"
        for folder, prefix, count, ending in series
        for index in range(int(count))
    }
    return sorted(path for path in promised - files if any(fnmatch(path.name, name) for name in names))


def known_shards(files: Iterable[Path]) -> dict[Path, ShardInfo]:
    """Returns the entries of manifests in the folders of the files, if there are any."""
    files = list(files)
    known: dict[Path, ShardInfo] = {}
    for folder in {path.parent for path in files}:
        for place in sorted(folder.glob(f"*{FILE_NAME}")):
            known |= {folder / shard.name: shard for shard in _shards_of(place)}
    return {path: known[path] for path in files if path in known}


def _shards_of(place: Path) -> Sequence[ShardInfo]:
    try:
        splits = Manifest.load(place).splits.values()
    except DatasetError:
        return ()
    return [shard for split in splits for shard in split.files]


def _parse_fault(data: bytes) -> str:
    try:
        decode_example(data)
    except DatasetError as error:
        return str(error)
    return ""
