"""Decoded images, kept: in memory or in a file, so that no image is decoded twice.

All pixels stand one image after the other; an image is found by its number.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from efficientdet_pipeline.data.sampler import all_in_order
from efficientdet_pipeline.data.tfrecord_reader import decode_record_image, parse_record
from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.system import free_memory
from tfrmod import fileio

Cache = Callable[[tf.Tensor], tf.Tensor]
"""Number of a record, a scalar int64 tensor, → its image (h, w, 3) uint8."""


def num_bytes(sizes: np.ndarray) -> int:
    """Returns how much the decoded images take, in bytes; `sizes` as in `Contents`."""
    return int(sizes.prod(axis=1).sum()) * 3


def free_bytes(kind: str, folder: Path) -> int:
    """Returns how much room there is, in bytes, in memory or on the disk of `folder`; without end if unknown."""
    if kind == "memory":
        return free_memory()
    existing = next(place for place in (folder, *folder.resolve().parents) if place.exists())
    return shutil.disk_usage(existing).free


def cache_in_memory(files: tuple[str, ...], sizes: np.ndarray) -> Cache:
    """Returns the images, decoded and kept in one array."""
    pixels, offsets = np.empty(num_bytes(sizes), np.uint8), _offsets(sizes)
    for number, image in enumerate(_decoded_images(files, sizes)):
        pixels[offsets[number] : offsets[number + 1]] = image.reshape(-1)
    # An array of this kind is shared with the tensor, not copied.
    everything, begins, shapes = tf.convert_to_tensor(pixels), tf.constant(offsets), tf.constant(sizes)

    def read(number: tf.Tensor) -> tf.Tensor:
        length = begins[number + 1] - begins[number]
        return _shaped(tf.slice(everything, begins[number][None], length[None]), shapes[number])

    return read


def cache_on_disk(files: tuple[str, ...], sizes: np.ndarray, folder: Path) -> Cache:
    """Returns the images, decoded into one file of `folder`; one that is there already is used.

    The file bears its name only when it is whole.
    """
    path, offsets = folder / f"photos-{_key(files)}.raw", _offsets(sizes)
    if not (path.is_file() and path.stat().st_size == offsets[-1]):
        folder.mkdir(parents=True, exist_ok=True)
        partial = fileio.partial_path(path)
        try:
            with partial.open("wb") as file:
                for image in _decoded_images(files, sizes):
                    file.write(image.data)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    begins, shapes = tf.constant(offsets), tf.constant(sizes)

    def read(number: tf.Tensor) -> tf.Tensor:
        begin, end = begins[number], begins[number + 1]
        record = tf.raw_ops.FixedLengthRecordDatasetV2(
            filenames=[str(path)],
            header_bytes=begin,
            record_bytes=end - begin,
            footer_bytes=begins[-1] - end,
            buffer_size=end - begin,
            compression_type="",
        )
        content = tf.raw_ops.DatasetToSingleElement(dataset=record, output_types=[tf.string], output_shapes=[()])[0]
        return _shaped(tf.io.decode_raw(content, tf.uint8), shapes[number])

    return read


def _shaped(values: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    return tf.reshape(values, tf.concat([size, [3]], 0))


def _offsets(sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes.prod(axis=1) * 3)])


def _decoded_images(files: tuple[str, ...], sizes: np.ndarray) -> Iterator[np.ndarray]:
    """Yields every image, decoded.

    Raises:
      DataError: an image has another size than its record says.
    """
    decoded = all_in_order(files).map(
        lambda record: decode_record_image(parse_record(record).encoded),
        num_parallel_calls=os.cpu_count() or 1,
        deterministic=True,
    )
    for number, (image, size) in enumerate(zip(decoded.prefetch(2).as_numpy_iterator(), sizes, strict=True)):
        if image.shape[:2] != tuple(size):
            raise DataError(
                f"Image {number} of the shards must be as large as its record says, to be cached. The record says "
                f"{size[0]}x{size[1]} (height x width), the image has {image.shape[0]}x{image.shape[1]}; "
                "try --cache=none, or make the shards again."
            )
        yield image


def _key(files: tuple[str, ...]) -> str:
    """Returns hex digits that tell these shards from others."""
    facts = [(Path(name).name, os.path.getsize(name), os.stat(name).st_mtime_ns) for name in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]
