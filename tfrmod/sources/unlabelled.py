"""Photos alone: nothing speaks of them, so they become records without objects, for a trained detector to look at."""

from pathlib import Path

from tfrmod.annotated_image import AnnotatedImage
from tfrmod.errors import DatasetError
from tfrmod.sources.files import Files, list_files
from tfrmod.sources.source import Entry, Listing, Reading


def is_here(folder: Path, files: Files) -> bool:
    """Returns no: whoever trains on photos has labels for them, and must hear that they were not found."""
    return False


def listing(folder: Path) -> Listing:
    """Returns every photo.

    Raises:
      DatasetError: there is none.
    """
    files = list_files(folder)
    if not files.images:
        raise DatasetError(f"Expected photos in {folder}, and found none among {files.total} files.")
    return Listing(entries=tuple(Entry(photo, "") for photo in files.images), is_unlabelled=True)


def read(folder: Path, entry: Entry, *, masks: bool = False) -> Reading:
    """Returns the photo with nothing on it."""
    return Reading(AnnotatedImage(filename=entry.image, path=folder / entry.image))
