"""Image files: search, decoding, and output names."""

import difflib
import glob
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import logging
from PIL import Image

from efficientdet_pipeline.errors import DataError
from tfrmod import fileio, image_file
from tfrmod.errors import DatasetError
from tfrmod.patterns import glob_files

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm"})
"""Suffixes searched in a folder, ignoring case. A file named explicitly may have any: its content decides."""

WRITABLE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".tif", ".tiff"})


def find_images(pattern: str | Path) -> list[Path]:
    """Returns the images of a path, a folder or a glob, sorted by name.

    For a folder these are the images directly in it, not in its sub-folders
    (use `photos/**/*.jpg`). The name of an existing file is never read as a
    glob.

    Raises:
      FileNotFoundError: nothing matches; the message lists similar names.
      DataError: the folder holds no images, or none whose name can be written into a file of results.
    """
    path = Path(pattern).expanduser()
    found = _matching_images(path)
    images = [each for each in found if _is_text(each)]
    for each in found:
        if not _is_text(each):
            shown = os.fsencode(each).decode("utf-8", "backslashreplace")
            sentence = f"{shown}: its name is not UTF-8, as files of results need; rename it"
            if not images:
                raise DataError(f"{sentence}.")
            logging.warning("%s", sentence)
    return images


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _matching_images(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if path.is_dir():
        paths = [entry for entry in sorted(path.iterdir()) if is_image_name(entry)]
        if not paths:
            raise DataError(
                f"The folder {path} must contain images. No file directly in it ends with one of "
                f"{' '.join(sorted(IMAGE_SUFFIXES))}. For images in sub-folders use a glob: '{path}/**/*.jpg'."
            )
        return paths
    matches = sorted(glob_files(str(path)))
    paths = [match for match in matches if is_image_name(match)] or matches
    if not paths:
        what = "No file matches" if glob.has_magic(str(path)) else "There is no file or folder"
        raise FileNotFoundError(f"{what} {path} (in {Path.cwd()}).{similar_names(path)}")
    return paths


def is_image_name(path: Path) -> bool:
    """Returns whether a file has the suffix of an image; False for hidden files."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def similar_names(path: Path) -> str:
    """Returns a sentence with names similar to that of `path` in its folder, or an empty string."""
    neighbours = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    similar = difflib.get_close_matches(path.name, neighbours, n=3, cutoff=0.5)
    return f" Similar names: {', '.join(str(path.parent / name) for name in similar)}." if similar else ""


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Returns the pixels of an image file, upright: uint8 RGB (h, w, 3).

    They are bit-identical to the pixels that training and evaluation decode from
    a record of the same file. The format is detected by content, an EXIF
    rotation is applied, and grey, palette, CMYK, transparent and 16-bit images
    are converted to RGB; images that the conversion re-encodes are re-encoded
    here too, because that changes the pixels of a JPEG.

    Raises:
      FileNotFoundError: the file does not exist.
      DataError: the content is not a readable image, or has more than 178 million pixels.
    """
    path = Path(path)
    try:
        return decode_content(path.read_bytes())
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def decode_content(content: bytes, *, max_pixels: int = image_file.MAX_PIXELS) -> np.ndarray:
    """Returns the pixels of an encoded image, as `read_image` does: uint8 RGB (h, w, 3), upright.

    Raises:
      DataError: it is not a readable image, or has more than `max_pixels` pixels.
    """
    try:
        checked = image_file.check_image(content, max_pixels=max_pixels, is_trusted=True)
        return image_file.decode_image(checked.encoded, max_pixels=max_pixels)
    except DatasetError as error:
        raise DataError(str(error)) from error


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Writes RGB pixels, atomically, in the format of the file name's suffix.

    Raises:
      OSError: the file cannot be written.
    """
    image_format = Image.registered_extensions()[Path(path).suffix.lower()]
    content = io.BytesIO()
    Image.fromarray(image).save(content, image_format, **({"quality": 95} if image_format == "JPEG" else {}))
    fileio.write_file(Path(path), content.getvalue())


def read_images(images: Sequence[Path], source: str) -> Iterator[tuple[Path, np.ndarray]]:
    """Yields path and pixels of each readable image; logs the others and continues.

    Args:
      images: from `find_images`.
      source: the user's path or glob, for messages.

    Raises:
      DataError: none of them is readable.
    """
    num_faults = 0
    for path in images:
        try:
            pixels = read_image(path)
        except DataError as error:
            if len(images) == 1:
                raise
            logging.warning("%s", error)
            num_faults += 1
            continue
        yield path, pixels
    if num_faults == len(images):
        raise DataError(f"None of the {num_faults} images of {source!r} is readable.")


def output_names(images: Iterable[Path]) -> list[str]:
    """Returns the file name of the drawn copy of each image."""
    taken: set[str] = set()
    return [_free_name(image, taken) for image in images]


def _free_name(image: Path, taken: set[str]) -> str:
    suffix = image.suffix if image.suffix.lower() in WRITABLE_SUFFIXES else ".png"
    stem = image.stem if image.suffix.lower() in IMAGE_SUFFIXES else image.name
    name, number = f"{stem}{suffix}", 2
    # On file systems that ignore case (macOS, Windows), a.jpg would overwrite A.jpg.
    while name.lower() in taken:
        name, number = f"{stem}-{number}{suffix}", number + 1
    taken.add(name.lower())
    return name
