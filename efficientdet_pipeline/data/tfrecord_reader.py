"""TFRecord reader: records by number, parsed into samples."""

import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from efficientdet.preprocess import decode_image

from efficientdet_pipeline.augment.sample import Sample
from efficientdet_pipeline.errors import DataError
from tfrmod import example as keys

_LENGTH = struct.Struct("<Q")
# The checksum of the length precedes the data, that of the data follows it.
_AROUND = _LENGTH.size + 4 + 4


@dataclass(frozen=True, eq=False)
class RecordIndex:
    """Locations of all records in the shards; records are numbered file by file."""

    files: tuple[str, ...]
    shards: np.ndarray
    """(n,) file number."""
    offsets: np.ndarray
    """(n,) byte offset of the record."""
    sizes: np.ndarray
    """(n,) size of the record in bytes, checksums included."""

    def __len__(self) -> int:
        """Returns the number of records."""
        return len(self.offsets)


def index_records(files: Sequence[str]) -> RecordIndex:
    """Returns the locations of the records; only their lengths are read.

    Raises:
      DataError: a file is truncated within a record.
    """
    locations = [location for number, name in enumerate(files) for location in _record_locations(number, name)]
    shards, offsets, sizes = np.array(locations, np.int64).reshape(-1, 3).T
    return RecordIndex(tuple(files), shards, offsets, sizes)


def _record_locations(number: int, name: str) -> list[tuple[int, int, int]]:
    locations: list[tuple[int, int, int]] = []
    offset = 0
    with open(name, "rb", buffering=0) as file:
        end = os.fstat(file.fileno()).st_size
        while offset < end:
            file.seek(offset)
            header = file.read(_LENGTH.size)
            size = _LENGTH.unpack(header)[0] + _AROUND if len(header) == _LENGTH.size else end + 1
            if offset + size > end:
                if not locations and header[:2] == b"\x1f\x8b":
                    raise DataError(
                        f"{name} must be an uncompressed TFRecord file. It is compressed with gzip; decompress it by "
                        f"`gunzip -c {name} > {name}.unpacked`."
                    )
                raise DataError(
                    f"{name} must be a complete TFRecord file. Record {len(locations)} (counted from 0, at byte "
                    f"{offset}) "
                    f"ends beyond its {end} bytes; write the shards again, or copy them again from their source."
                )
            locations.append((number, offset, size))
            offset += size
    return locations


def read_record(index: RecordIndex, number: int) -> bytes:
    """Returns a serialized record without TensorFlow; its checksums are not verified."""
    with open(index.files[index.shards[number]], "rb") as file:
        file.seek(int(index.offsets[number]) + _LENGTH.size + 4)
        return file.read(int(index.sizes[number]) - _AROUND)


class RecordReader:
    """Reads single records inside a graph: number, a scalar int64 tensor, → serialized record."""

    def __init__(self, index: RecordIndex):
        self._files = tf.constant(index.files)
        self._places = tf.constant(np.stack([index.shards, index.offsets, index.sizes], axis=1))

    def __call__(self, number: tf.Tensor) -> tf.Tensor:
        """Returns the record; its checksums are verified."""
        shard, offset, size = tf.unstack(self._places[number])
        # The public class reads every file from its first byte; the underlying operation can start anywhere.
        from_here = tf.raw_ops.TFRecordDatasetV2(
            filenames=self._files[shard][None], compression_type="", buffer_size=size, byte_offsets=offset[None]
        )
        kind: dict[str, list[object]] = {"output_types": [tf.string], "output_shapes": [()]}
        first = tf.raw_ops.TakeDataset(input_dataset=from_here, count=1, **kind)
        return tf.raw_ops.DatasetToSingleElement(dataset=first, **kind)[0]


class Record(NamedTuple):
    """One record of a shard."""

    encoded: tf.Tensor
    """The encoded image, a scalar string."""
    source_id: tf.Tensor
    """Scalar string; records without one are identified by their hash."""
    boxes_unit: tf.Tensor
    """(n, 4) float32, y0 x0 y1 x1 from 0 to 1."""
    class_ids: tf.Tensor
    """(n,) int32, 1-based."""
    is_crowd: tf.Tensor
    """(n,) bool."""
    areas: tf.Tensor
    """(n,) float32, area in square pixels; zeros if the record does not state it."""
    file_name: tf.Tensor
    """Scalar string; empty if the record does not state it."""


_FEATURES = {
    keys.ENCODED: tf.io.FixedLenFeature((), tf.string),
    keys.SOURCE_ID: tf.io.FixedLenFeature((), tf.string, ""),
    keys.FILENAME: tf.io.FixedLenFeature((), tf.string, ""),
    **{name: tf.io.VarLenFeature(tf.float32) for name in keys.BOX},
    keys.LABEL: tf.io.VarLenFeature(tf.int64),
    keys.IS_CROWD: tf.io.VarLenFeature(tf.int64),
    keys.AREA: tf.io.VarLenFeature(tf.float32),
}


def parse_record(serialized: tf.Tensor) -> Record:
    """Returns the record in a serialized tf.train.Example, ours or google/automl's."""
    parsed = {
        name: tf.sparse.to_dense(value) if isinstance(value, tf.SparseTensor) else value
        for name, value in tf.io.parse_single_example(serialized, _FEATURES).items()
    }
    boxes = tf.stack([parsed[name] for name in keys.BOX], axis=-1)
    count = tf.shape(boxes)[0]
    source_id = parsed[keys.SOURCE_ID]
    areas = _of_length(parsed[keys.AREA], count)
    by_hash = tf.strings.as_string(tf.strings.to_hash_bucket_fast(parsed[keys.ENCODED], 2**63 - 1))
    return Record(
        encoded=parsed[keys.ENCODED],
        source_id=tf.where(tf.strings.length(source_id) > 0, source_id, by_hash),
        boxes_unit=boxes,
        class_ids=tf.cast(parsed[keys.LABEL], tf.int32),
        is_crowd=_of_length(parsed[keys.IS_CROWD], count) > 0,
        # google/automl's VOC writer stores the area as a fraction of the image; then the area of the box is used.
        areas=tf.where(areas > 1.0, areas, 0.0),
        file_name=parsed[keys.FILENAME],
    )


_DIFFICULT = {name: tf.io.VarLenFeature(tf.int64) for name in (keys.DIFFICULT, keys.LABEL)}


def parse_difficult(serialized: tf.Tensor) -> tf.Tensor:
    """Returns (n,) bool, which boxes are difficult; `parse_record` leaves it out, because training does not use it."""
    parsed = tf.io.parse_single_example(serialized, _DIFFICULT)
    marks = tf.sparse.to_dense(parsed[keys.DIFFICULT])
    return _of_length(marks, tf.size(parsed[keys.LABEL].values)) > 0


def decode_record_image(encoded: tf.Tensor, name: tf.Tensor | str = "") -> tf.Tensor:
    """Returns an image of any format as (h, w, 3) uint8; a warning names a JPEG without much of its data."""
    from efficientdet_pipeline.data.damaged_images import warn_if_damaged

    return warn_if_damaged(decode_image(encoded), encoded, tf.convert_to_tensor(name))


class SampleReader:
    """Reads samples inside a graph: record number, a scalar int64 tensor → `Sample`."""

    def __init__(self, index: RecordIndex, *, skip_crowd: bool, cache: Callable[[tf.Tensor], tf.Tensor] | None = None):
        self._read = RecordReader(index)
        self._skip_crowd = skip_crowd
        self._cache = cache

    def __call__(self, number: tf.Tensor) -> Sample:
        """Returns the sample, without crowd boxes if they are to be skipped."""
        record = parse_record(self._read(number))
        if self._skip_crowd:
            record = without_crowd(record)
        image = self._cache(number) if self._cache else decode_record_image(record.encoded, record.file_name)
        return Sample(image, boxes_in_pixels(record, image), record.class_ids)


def boxes_in_pixels(record: Record, image: tf.Tensor) -> tf.Tensor:
    """Returns the record's boxes in pixels of its image, (n, 4)."""
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
    return record.boxes_unit * tf.stack([height, width, height, width])


def without_crowd(record: Record) -> Record:
    """Returns the record without crowd boxes."""
    kept = tf.logical_not(record.is_crowd)
    per_box = {name: tf.boolean_mask(getattr(record, name), kept) for name in _PER_BOX}
    return record._replace(**per_box)


_PER_BOX = ("boxes_unit", "class_ids", "is_crowd", "areas")


def _of_length(values: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Returns one value per box: the record's own, or zeros if it has none."""
    return tf.cond(tf.size(values) == count, lambda: values, lambda: tf.zeros((count,), values.dtype))
