"""Batches of images and semantic maps from shards, for training and evaluation of segmentation networks."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import tensorflow as tf
from efficientdet.imagenet import ImageNetConfig

from efficientdet_pipeline.augment.resize import normalize
from efficientdet_pipeline.augment.semantic_map import (
    IGNORE_ID,
    SemanticAugmentConfig,
    SemanticSample,
    decode_semantic_map,
    semantic_augmenter,
)
from efficientdet_pipeline.data.class_batches import HostShare, shared_batches
from efficientdet_pipeline.data.sampler import Sampler, all_in_order, endless_rows
from efficientdet_pipeline.data.tfrecord_reader import RecordReader, decode_record_image, index_records
from efficientdet_pipeline.errors import DataError
from tfrmod import example as keys

_FEATURES = {
    keys.ENCODED: tf.io.FixedLenFeature((), tf.string),
    keys.SEGMENTATION: tf.io.FixedLenFeature((), tf.string, ""),
    keys.FILENAME: tf.io.FixedLenFeature((), tf.string, ""),
}


@dataclass(frozen=True, kw_only=True)
class SemanticClasses:
    """Mapping from values of records to columns of a network."""

    num_classes: int
    """Number of columns, including the background if there is one."""
    has_background: bool = True
    """Whether value 0 is column 0. If not, value 1 is, and 0 is ignored, as in ADE20K and Cityscapes."""
    values: Mapping[int, int] = field(default_factory=dict)
    """Values of the records → those of the training data, where they differ."""

    def columns(self, values: tf.Tensor) -> tf.Tensor:
        """Returns the map (h, w), uint8, in columns of the network; `IGNORE_ID` for ignored pixels."""
        if self.values:
            table = tf.constant([self.values.get(value, value) for value in range(256)], tf.uint8)
            values = tf.gather(table, tf.cast(values, tf.int32))
        if self.has_background:
            return values
        ignored = tf.fill(tf.shape(values), tf.constant(IGNORE_ID, tf.uint8))
        # In uint8, 0 - 1 is 255, and 255 must stay 255.
        return tf.where(values == IGNORE_ID, ignored, values - 1)


class SemanticRecord(NamedTuple):
    """Image and semantic map of a record."""

    sample: SemanticSample
    """Semantic map in columns of the network."""
    filename: tf.Tensor


def parse_semantic_record(serialized: tf.Tensor, classes: SemanticClasses) -> SemanticRecord:
    """Returns the image and its map; an error names a record without a map, or with one of another size."""
    parsed = tf.io.parse_single_example(serialized, _FEATURES)
    filename = parsed[keys.FILENAME]
    has_map = tf.debugging.Assert(
        tf.strings.length(parsed[keys.SEGMENTATION]) > 0,
        ["A record has no semantic map; convert the data set with --include_masks. Image:", filename],
    )
    image = decode_record_image(parsed[keys.ENCODED], filename)
    with tf.control_dependencies([has_map]):
        values = decode_semantic_map(parsed[keys.SEGMENTATION])
    semantic_map = classes.columns(values)
    fits = tf.debugging.Assert(
        tf.reduce_all(tf.shape(image)[:2] == tf.shape(semantic_map)),
        ["A semantic map must have its image's size. Image:", filename, tf.shape(image), tf.shape(semantic_map)],
    )
    known = tf.debugging.Assert(
        tf.reduce_all((tf.cast(semantic_map, tf.int32) < classes.num_classes) | (semantic_map == IGNORE_ID)),
        [f"A semantic map has ids beyond the {classes.num_classes} classes. Image:", filename],
    )
    with tf.control_dependencies([fits, known]):
        return SemanticRecord(SemanticSample(tf.identity(image), tf.identity(semantic_map)), filename)


def training_semantic_batches(
    files: Sequence[str],
    augment: SemanticAugmentConfig,
    classes: SemanticClasses,
    imagenet: ImageNetConfig,
    *,
    batch_size: int,
    seed: int,
    position: int = 0,
    host: HostShare | None = None,
) -> tf.data.Dataset:
    """Yields (images (b, H, W, 3) float32, maps (b, H, W) int32), endless, from sample number `position` on.

    Order and augmentation are functions of (seed, sample number).

    Raises:
      DataError: there are no records.
    """
    index = index_records(files)
    if not len(index):
        raise DataError("Training needs records. The shards contain none.")
    read, vary = RecordReader(index), semantic_augmenter(augment)

    def prepare(number: tf.Tensor, row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        record = parse_semantic_record(read(row[0]), classes)
        return tuple(vary(record.sample, tf.stack([tf.cast(seed, tf.int64), number])))

    def finish(canvases: tf.Tensor, valid: tf.Tensor, maps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images = normalize(canvases, valid, mean=imagenet.mean_rgb, std=imagenet.stddev_rgb)
        return images, tf.cast(maps, tf.int32)

    rows = endless_rows(Sampler(index, seed), position=position)
    return shared_batches(rows, prepare, batch_size=batch_size, host=host or HostShare()).map(finish).prefetch(2)


class SemanticEvaluationImage(NamedTuple):
    """One image at its original size, and its ground truth."""

    image: tf.Tensor
    """(1, h, w, 3) float32, normalized."""
    semantic_map: tf.Tensor
    """(h, w) uint8, in columns of the network."""
    source: tf.Tensor
    """(h, w, 3) uint8, for drawing."""
    filename: tf.Tensor


def evaluation_semantic_images(
    files: Sequence[str], classes: SemanticClasses, imagenet: ImageNetConfig, *, limit: int | None = None
) -> tf.data.Dataset:
    """Yields `SemanticEvaluationImage` over every image once, in order, or over the first `limit`."""

    def prepare(serialized: tf.Tensor) -> SemanticEvaluationImage:
        (image, semantic_map), filename = parse_semantic_record(serialized, classes)
        values = tf.cast(image, tf.float32) - tf.constant(imagenet.mean_rgb)
        normalized = values / tf.constant(imagenet.stddev_rgb)
        return SemanticEvaluationImage(normalized[tf.newaxis], semantic_map, image, filename)

    dataset = all_in_order(files)
    dataset = dataset if limit is None else dataset.take(limit)
    return dataset.map(prepare, num_parallel_calls=os.cpu_count() or 1, deterministic=True).prefetch(2)
