"""Cache of decoded images, in memory or in a file, so that each image is decoded once.

The pixels of all images are concatenated; an image is found by its record number.
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
"""Record number, a scalar int64 tensor → its image (h, w, 3) uint8."""


def num_bytes(sizes: np.ndarray) -> int:
    """Returns the size of the decoded images in bytes; `sizes` as in `ShardStats`."""
    return int(sizes.prod(axis=1).sum()) * 3


def free_bytes(kind: str, folder: Path) -> int:
    """Returns the free bytes in memory or on the disk of `folder`; infinite if unknown."""
    if kind == "memory":
        return free_memory()
    existing = next(place for place in (folder, *folder.resolve().parents) if place.exists())
    return shutil.disk_usage(existing).free


def cache_in_memory(files: tuple[str, ...], sizes: np.ndarray) -> Cache:
    """Returns a cache in memory: the decoded images in one array."""
    pixels, offsets = np.empty(num_bytes(sizes), np.uint8), _offsets(sizes)
    for number, image in enumerate(_decoded_images(files, sizes)):
        pixels[offsets[number] : offsets[number + 1]] = image.reshape(-1)
    # An array with this layout is shared with the tensor, not copied.
    everything, begins, shapes = tf.convert_to_tensor(pixels), tf.constant(offsets), tf.constant(sizes)

    def read(number: tf.Tensor) -> tf.Tensor:
        length = begins[number + 1] - begins[number]
        return _shaped(tf.slice(everything, begins[number][None], length[None]), shapes[number])

    return read


def cache_on_disk(files: tuple[str, ...], sizes: np.ndarray, folder: Path) -> Cache:
    """Returns a cache on disk: the decoded images in one file of `folder`; an existing file is reused.

    The file gets its name only when it is complete.
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
      DataError: the size of an image differs from that in its record.
    """
    decoded = all_in_order(files).map(
        lambda serialized: decode_record_image((record := parse_record(serialized)).encoded, record.file_name),
        num_parallel_calls=os.cpu_count() or 1,
        deterministic=True,
    )
    for number, (image, size) in enumerate(zip(decoded.prefetch(2).as_numpy_iterator(), sizes, strict=True)):
        if image.shape[:2] != tuple(size):
            raise DataError(
                f"Image {number} of the shards must have the size in its record, to be cached. The record states "
                f"{size[0]}x{size[1]} (height x width), the image has {image.shape[0]}x{image.shape[1]}; "
                "try --cache=none, or convert the images again."
            )
        yield image


def _key(files: tuple[str, ...]) -> str:
    """Returns an identifier of these shards, as hex digits."""
    facts = [(Path(name).name, os.path.getsize(name), os.stat(name).st_mtime_ns) for name in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]
