"""Unlabelled images: records without objects, as input for a trained detector."""

from pathlib import Path

from tfrmod.annotated_image import AnnotatedImage
from tfrmod.counted import counted
from tfrmod.errors import DatasetError
from tfrmod.sources.files import Files, list_files
from tfrmod.sources.source import Entry, Listing, Reading


def is_here(folder: Path, files: Files) -> bool:
    """Returns False: a training needs labels, and must report that it found none."""
    return False


def listing(folder: Path) -> Listing:
    """Returns all images.

    Raises:
      DatasetError: there is none.
    """
    files = list_files(folder)
    if not files.images:
        raise DatasetError(f"Expected images in {folder}, and found none among {counted(files.total, 'file')}.")
    return Listing(entries=tuple(Entry(image, "") for image in files.images), is_unlabelled=True)


def read(folder: Path, entry: Entry, *, masks: bool = False) -> Reading:
    """Returns the image without objects."""
    return Reading(AnnotatedImage(filename=entry.image, path=folder / entry.image))
