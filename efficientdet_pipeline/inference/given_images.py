"""Images as callers of the Python API give them: paths of files, or pixels."""

import io
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.inference.image_io import read_image

Readable = str | os.PathLike[str] | np.ndarray
"""Path of an image file, or its pixels: uint8 RGB (h, w, 3)."""


def one_or_several(images: Readable | Iterable[Readable]) -> Iterable[Readable]:
    """Returns images as a sequence; a single image, also of a type that `pixels_of` refuses, becomes one of one."""
    if isinstance(images, np.ndarray):
        return images if images.ndim == 4 else [images]
    if isinstance(images, Iterable) and not isinstance(images, str | bytes | os.PathLike | io.IOBase):
        return images
    return [images]


def pixels_of(image: Readable) -> np.ndarray:
    """Returns the pixels of a file; returns an array unchanged.

    Raises:
      FileNotFoundError: the file does not exist.
      DataError: it is not an image, or the array is not uint8 of shape (h, w, 3).
    """
    if isinstance(image, str | os.PathLike):
        if Path(image).is_dir():
            raise DataError(
                f"An image must be one file. Received the folder {image}; pass its images, such as "
                f"sorted(pathlib.Path({str(image)!r}).glob('*.jpg'))."
            )
        return read_image(image)
    if not isinstance(image, np.ndarray):
        raise DataError(
            f"An image must be the path of a file, or a uint8 RGB array of shape (h, w, 3). Received "
            f"{type(image).__name__}; of an image of Pillow, numpy.asarray(image.convert('RGB')) is such an array."
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise DataError(
            f"An image must be a uint8 RGB array of shape (h, w, 3). Received {image.dtype} of shape {image.shape}; "
            "convert it, or pass the path of its file."
        )
    return image
