"""Batches for training and for evaluation. b: batch, n: boxes, H W: the network's canvas."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf
from efficientdet.types import GroundTruth

from efficientdet_pipeline.data.order import all_records, endless_records
from efficientdet_pipeline.data.records import Record, decode_photo, parse_record, without_crowd

# photo (h, w, 3) uint8, boxes (n, 4) in its pixels, class ids (n,), seed (2,) → canvas (H, W, 3), boxes, class ids
Vary = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]
# photo (h, w, 3) uint8 → canvas (H, W, 3) float32, original pixels per canvas pixel
Fit = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

PADDING = -1


@dataclass(frozen=True, kw_only=True)
class TrainingStream:
    """What of which shards makes a training batch."""

    files: tuple[str, ...]
    num_records: int
    batch_size: int
    max_instances: int
    """Boxes kept of a photo; more are cut, which the manifest has told."""
    canvas: tuple[int, int]
    """Height and width."""
    seed: int
    skip_crowd: bool = True
    repeat_first_batch: bool = False
    """Yield one batch for ever."""


def training_batches(stream: TrainingStream, vary: Vary, *, position: int = 0) -> tf.data.Dataset:
    """Yields (images (b, H, W, 3) float32, GroundTruth) for ever, from sample number `position` on."""

    def prepare(number: tf.Tensor, serialized: tf.Tensor) -> tuple[tf.Tensor, GroundTruth]:
        record = parse_record(serialized)
        if stream.skip_crowd:
            record = without_crowd(record)
        photo = decode_photo(record.encoded)
        seed = tf.stack([tf.cast(stream.seed, tf.int64), number])
        image, boxes, class_ids = vary(photo, boxes_in_pixels(record, photo), record.class_ids, seed)
        image = tf.ensure_shape(image, (*stream.canvas, 3))
        return image, _padded(boxes, class_ids, stream.max_instances)

    dataset = endless_records(
        stream.files,
        num_records=stream.num_records,
        seed=stream.seed,
        position=0 if stream.repeat_first_batch else position,
    )
    dataset = dataset.map(prepare, num_parallel_calls=os.cpu_count() or 1, deterministic=True)
    dataset = dataset.batch(stream.batch_size, drop_remainder=True)
    if stream.repeat_first_batch:
        dataset = dataset.take(1).cache().repeat()
    return dataset.prefetch(2).with_options(_options())


class EvaluationBatch(NamedTuple):
    """Photos and their truth, padded with zeros to the most boxes that a photo of the batch has."""

    images: tf.Tensor
    """(b, H, W, 3) float32, normalised."""
    scales: tf.Tensor
    """(b,) original pixels per canvas pixel."""
    sizes: tf.Tensor
    """(b, 2) height and width of the photo in pixels."""
    source_ids: tf.Tensor
    boxes_original: tf.Tensor
    """(b, n, 4) pixels of the photo."""
    class_ids: tf.Tensor
    is_crowd: tf.Tensor
    areas: tf.Tensor
    num_boxes: tf.Tensor
    """(b,) boxes that are no padding."""


def evaluation_batches(files: Sequence[str], fit: Fit, *, batch_size: int, limit: int | None = None) -> tf.data.Dataset:
    """Yields `EvaluationBatch` over every photo once, or over the first `limit`; the last batch may be smaller."""

    def prepare(serialized: tf.Tensor) -> EvaluationBatch:
        record = parse_record(serialized)
        photo = decode_photo(record.encoded)
        image, scale = fit(photo)
        return EvaluationBatch(
            image,
            scale,
            tf.shape(photo)[:2],
            record.source_id,
            boxes_in_pixels(record, photo),
            record.class_ids,
            record.is_crowd,
            record.areas,
            tf.shape(record.class_ids)[0],
        )

    dataset = all_records(files)
    if limit is not None:
        dataset = dataset.take(limit)
    dataset = dataset.map(prepare, num_parallel_calls=os.cpu_count() or 1, deterministic=True)
    return dataset.padded_batch(batch_size).prefetch(2).with_options(_options())


def _options() -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    # Parallelism is fixed here, and the tuner's thread would hold up the end of each run by the minute it sleeps.
    options.autotune.enabled = False
    return options


def boxes_in_pixels(record: Record, photo: tf.Tensor) -> tf.Tensor:
    """Returns the record's boxes in pixels of its photo, (n, 4)."""
    height, width = tf.unstack(tf.cast(tf.shape(photo)[:2], tf.float32))
    return record.boxes_unit * tf.stack([height, width, height, width])


def _padded(boxes: tf.Tensor, class_ids: tf.Tensor, count: int) -> GroundTruth:
    boxes, class_ids = boxes[:count], class_ids[:count]
    missing = count - tf.shape(class_ids)[0]
    return GroundTruth(
        tf.ensure_shape(tf.pad(boxes, [[0, missing], [0, 0]], constant_values=float(PADDING)), (count, 4)),
        tf.ensure_shape(tf.pad(class_ids, [[0, missing]], constant_values=PADDING), (count,)),
    )
