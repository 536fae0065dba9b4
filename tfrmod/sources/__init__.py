"""The formats of annotations that the mill takes: a line in the table, and a page beside this one."""

from collections import Counter
from pathlib import Path

from tfrmod.errors import DatasetError
from tfrmod.sources import voc
from tfrmod.sources.source import Entry, Listing, Reading, Source

__all__ = ["SOURCES", "Entry", "Listing", "Reading", "Source", "find_source"]

SOURCES: dict[str, Source] = {
    "voc": Source("Pascal VOC: one XML a photo", voc.is_here, voc.listing, voc.read),
}


def find_source(folder: Path, source_format: str | None = None) -> str:
    """Returns the name in `SOURCES` of the format that a folder is in.

    Args:
      folder: the unpacked data set.
      source_format: what the user says it is; found by looking where None.

    Raises:
      DatasetError: no such folder, or nothing in it that a source knows.
      ValueError: `source_format` is not in the table.
    """
    if not folder.is_dir():
        raise DatasetError(f"The data set must be a folder; {folder} is not there, or is a file.", missing=True)
    if source_format is not None:
        if source_format not in SOURCES:
            raise ValueError(f"Unknown source_format {source_format!r}. Known: {', '.join(SOURCES)}.")
        return source_format
    for name, source in SOURCES.items():
        if source.is_here(folder):
            return name
    known = "; ".join(source.title for source in SOURCES.values())
    raise DatasetError(
        f"No annotations were found in {folder}, which holds {_inventory(folder)}. Known formats: {known}."
    )


def _inventory(folder: Path) -> str:
    kinds = Counter(path.suffix.lower() or "no extension" for path in folder.rglob("*") if path.is_file())
    if not kinds:
        return "no files"
    return ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common(5))
