"""The size of a photo as it is meant to be looked at, for boxes that are stated as shares of it."""

from pathlib import Path

from tfrmod import image_file
from tfrmod.errors import DatasetError


def upright_size(path: Path) -> tuple[int, int]:
    """Returns (height, width) of the upright picture; (0, 0) where the file is no photo that can be used.

    What is the matter with such a file is said by the examination of its
    pixels, which comes next and leaves it out.
    """
    return image_sizes(path)[0]


def image_sizes(path: Path) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns (height, width) of the upright image and of the stored pixels; (0, 0) twice where it cannot be used."""
    try:
        return image_file.image_sizes(path.read_bytes())
    except (DatasetError, OSError):
        return (0, 0), (0, 0)
