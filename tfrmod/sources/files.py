"""Inventory of a dataset's files by extension."""

import os
from pathlib import Path
from typing import NamedTuple

from tfrmod.file_types import IMAGE_EXTENSIONS, is_junk
from tfrmod.pairing import Names, nearness

__all__ = ["VOC_MASK_FOLDERS", "Files", "Names", "list_files", "nearness"]

# Images whose colors are labels; they have the names of the images.
VOC_MASK_FOLDERS = frozenset({"segmentationclass", "segmentationobject"})
_KINDS = {"xml": "xml", "txt": "txt", "json": "json", "csv": "csv", "yaml": "yaml", "yml": "yaml"}


class Files(NamedTuple):
    """Sorted paths relative to the folder, with forward slashes."""

    images: list[str]
    """Files with an image's extension, except those in VOC's folders of masks."""
    masks: list[str]
    """Files with an image's extension in VOC's folders of masks."""
    xml: list[str]
    txt: list[str]
    json: list[str]
    csv: list[str]
    yaml: list[str]
    others: list[str]

    @property
    def total(self) -> int:
        """Returns the number of files."""
        return sum(map(len, self))


def list_files(folder: Path) -> Files:
    """Returns all files of a folder and its subfolders, except for those of operating systems.

    Symbolic links to folders are not followed, so that nothing outside of the
    folder is listed.
    """
    found = Files([], [], [], [], [], [], [], [])
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_junk(name))
        relative = Path(parent).relative_to(folder)
        is_of_masks = not VOC_MASK_FOLDERS.isdisjoint(map(str.lower, relative.parts))
        for name in sorted(names):
            if not is_junk(name):
                extension = name.rpartition(".")[2].lower()
                kind = _KINDS.get(extension, "others")
                if extension in IMAGE_EXTENSIONS:
                    kind = "masks" if is_of_masks else "images"
                getattr(found, kind).append((relative / name).as_posix())
    return found
