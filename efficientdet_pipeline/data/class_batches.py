"""Input of a classification: records of one class each, to batches for training and images for evaluation."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf
from efficientdet.imagenet import imagenet_config
from efficientdet.preprocess_imagenet import imagenet_input, normalize_rgb

from efficientdet_pipeline.augment.image_class import ClassAugmentConfig, class_augmenter
from efficientdet_pipeline.data.sampler import Sampler, all_in_order, endless_rows
from efficientdet_pipeline.data.tfrecord_reader import RecordReader, decode_record_image, index_records
from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.models.classification import ClassificationNetwork
from tfrmod import example as keys

_FEATURES = {
    keys.ENCODED: tf.io.FixedLenFeature((), tf.string),
    keys.FILENAME: tf.io.FixedLenFeature((), tf.string, ""),
    keys.LABEL: tf.io.VarLenFeature(tf.int64),
}


class ClassRecord(NamedTuple):
    """What a shard holds of an image for classification."""

    image: tf.Tensor
    """(h, w, 3) uint8 RGB."""
    column: tf.Tensor
    """Its class as a column of the network, int32: the class id less 1."""
    filename: tf.Tensor


@dataclass(frozen=True)
class HostShare:
    """Which rows of each batch a process of several takes."""

    index: int = 0
    count: int = 1


def parse_class_record(serialized: tf.Tensor, num_classes: int, columns: tf.Tensor | None = None) -> ClassRecord:
    """Returns the image and its class; a record of another number of classes ends the reading by name.

    Args:
      serialized: the record.
      num_classes: of the network.
      columns: (ids,) int32, the column of each class id of the records; None for the id less 1.
    """
    parsed = tf.io.parse_single_example(serialized, _FEATURES)
    filename, labels = parsed[keys.FILENAME], parsed[keys.LABEL].values
    is_single = tf.debugging.Assert(
        tf.equal(tf.size(labels), 1),
        ["A record must have one class; convert the images with --task=classification. Image:", filename, labels],
    )
    with tf.control_dependencies([is_single]):
        class_id = tf.cast(tf.reshape(labels, [-1])[0], tf.int32)
    column = class_id - 1 if columns is None else columns[class_id]
    is_known = tf.debugging.Assert(
        (column >= 0) & (column < num_classes),
        [f"A record has a class beyond the {num_classes} of the network. Image:", filename, labels],
    )
    with tf.control_dependencies([is_known]):
        return ClassRecord(decode_record_image(parsed[keys.ENCODED], filename), tf.identity(column), filename)


def training_class_batches(
    files: Sequence[str],
    augment: ClassAugmentConfig | None,
    network: ClassificationNetwork,
    *,
    batch_size: int,
    seed: int,
    position: int = 0,
    host: HostShare | None = None,
) -> tf.data.Dataset:
    """Yields (images (b, side, side, 3) float32, columns (b,) int32) endlessly, from sample number `position` on.

    Order and augmentation are functions of (seed, running number of the sample).
    Without `augment`, images are cut and resized as for an evaluation.

    Raises:
      DataError: there is no record.
    """
    index = index_records(files)
    if not len(index):
        raise DataError("Training needs records. The shards hold none.")
    read, vary = RecordReader(index), class_augmenter(augment) if augment is not None else None
    imagenet = imagenet_config(network.config.backbone_name)

    def prepare(number: tf.Tensor, row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        record = parse_class_record(read(row[0]), network.config.num_classes)
        if vary is None:
            return imagenet_input(record.image, imagenet, network.side), record.column
        return vary(record.image, tf.stack([tf.cast(seed, tf.int64), number])), record.column

    def finish(images: tf.Tensor, columns: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return (images if vary is None else normalize_rgb(images, imagenet)), columns

    rows = endless_rows(Sampler(index, seed), position=position)
    return shared_batches(rows, prepare, batch_size=batch_size, host=host or HostShare()).map(finish).prefetch(2)


def shared_batches(
    rows: tf.data.Dataset, prepare: Callable[..., object], *, batch_size: int, host: HostShare
) -> tf.data.Dataset:
    """Returns batches of prepared samples; of several processes each gets its rows of every batch.

    Args:
      rows: running numbers and records, from `sampler.endless_rows`.
      prepare: running number and row → a sample.
      batch_size: over all processes.
      host: which of them this is.
    """
    own = batch_size // host.count
    if host.count > 1:
        begin = host.index * own
        rows = rows.batch(batch_size).map(lambda *columns: [each[begin : begin + own] for each in columns]).unbatch()
    prepared = rows.map(prepare, num_parallel_calls=os.cpu_count() or 1, deterministic=True)
    return prepared.batch(own, drop_remainder=True)


def evaluation_class_images(
    files: Sequence[str], num_classes: int, *, columns: Mapping[int, int] | None = None, limit: int | None = None
) -> tf.data.Dataset:
    """Yields `ClassRecord` of every image once, in order, or of the first `limit`.

    Args:
      files: the shards.
      num_classes: of the network.
      columns: class id of the records → column of the network; None for the id less 1.
      limit: number of images; None for all.
    """
    ids = range(max(columns, default=0) + 1) if columns is not None else ()
    table = tf.constant([columns.get(each, -1) for each in ids], tf.int32) if columns is not None else None
    dataset = all_in_order(files)
    dataset = dataset if limit is None else dataset.take(limit)
    parse = lambda serialized: parse_class_record(serialized, num_classes, table)  # noqa: E731
    return dataset.map(parse, num_parallel_calls=os.cpu_count() or 1, deterministic=True).prefetch(2)
