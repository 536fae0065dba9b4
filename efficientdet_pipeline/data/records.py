"""Reads one serialized record: a photo and its boxes. n: boxes of the photo."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
from efficientdet.inputs import decode_image

from efficientdet_pipeline.data.index import RecordIndex, RecordReader
from tfrmod import example as keys


class Photo(NamedTuple):
    """What training takes of a record."""

    image: tf.Tensor
    """(h, w, 3) uint8, RGB."""
    boxes: tf.Tensor
    """(n, 4) float32, y0 x0 y1 x1 in pixels of the photo."""
    class_ids: tf.Tensor
    """(n,) int32, 1-based."""


class Record(NamedTuple):
    """What a shard holds about one photo."""

    encoded: tf.Tensor
    """The photo's file, a scalar string."""
    source_id: tf.Tensor
    """Scalar string; records without one go by their hash."""
    boxes_unit: tf.Tensor
    """(n, 4) float32, y0 x0 y1 x1 from 0 to 1."""
    class_ids: tf.Tensor
    """(n,) int32, 1-based."""
    is_crowd: tf.Tensor
    """(n,) bool."""
    areas: tf.Tensor
    """(n,) float32, square pixels; zeros where the record does not say."""


_FEATURES = {
    keys.ENCODED: tf.io.FixedLenFeature((), tf.string),
    keys.SOURCE_ID: tf.io.FixedLenFeature((), tf.string, ""),
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
        # google/automl's VOC writer leaves the area as a share of the photo; the box's own area serves better then.
        areas=tf.where(areas > 1.0, areas, 0.0),
    )


def decode_photo(encoded: tf.Tensor) -> tf.Tensor:
    """Returns a photo as (h, w, 3) uint8, whatever its format."""
    return decode_image(encoded)


class PhotoReader:
    """Reads photos inside a graph: number of a record, a scalar int64 tensor, → Photo."""

    def __init__(self, index: RecordIndex, *, skip_crowd: bool, cache: Callable[[tf.Tensor], tf.Tensor] | None = None):
        self._read = RecordReader(index)
        self._skip_crowd = skip_crowd
        self._cache = cache

    def __call__(self, number: tf.Tensor) -> Photo:
        """Returns the photo, without boxes that mark a crowd where those are to be skipped."""
        record = parse_record(self._read(number))
        if self._skip_crowd:
            record = without_crowd(record)
        image = self._cache(number) if self._cache else decode_photo(record.encoded)
        return Photo(image, boxes_in_pixels(record, image), record.class_ids)


def boxes_in_pixels(record: Record, photo: tf.Tensor) -> tf.Tensor:
    """Returns the record's boxes in pixels of its photo, (n, 4)."""
    height, width = tf.unstack(tf.cast(tf.shape(photo)[:2], tf.float32))
    return record.boxes_unit * tf.stack([height, width, height, width])


def without_crowd(record: Record) -> Record:
    """Returns the record without the boxes that surround a group."""
    kept = tf.logical_not(record.is_crowd)
    per_box = {name: tf.boolean_mask(getattr(record, name), kept) for name in _PER_BOX}
    return record._replace(**per_box)


_PER_BOX = ("boxes_unit", "class_ids", "is_crowd", "areas")


def _of_length(values: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Returns one value a box: the record's own, or zeros where it has none."""
    return tf.cond(tf.size(values) == count, lambda: values, lambda: tf.zeros((count,), values.dtype))
