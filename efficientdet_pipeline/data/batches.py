"""Batches for training and for evaluation. b: batch, n: boxes, H W: the network's canvas."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from efficientdet.types import GroundTruth

from efficientdet_pipeline.data.index import index_records
from efficientdet_pipeline.data.order import Order, all_records, endless_rows
from efficientdet_pipeline.data.records import (
    Photo,
    PhotoReader,
    boxes_in_pixels,
    decode_photo,
    parse_record,
)

# photo (h, w, 3) uint8 → canvas (H, W, 3) float32, original pixels per canvas pixel
Fit = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

PADDING = -1


class Variation(NamedTuple):
    """How photos become pictures of the network's size."""

    draw: Callable[[Photo, Sequence[Callable[[], Photo]], tf.Tensor], tuple[Any, Any, Any, Any]]
    """Photo, what reads each partner, seed (2,) → canvas (H, W, 3) uint8, (2,) int32 of it shown, boxes, class ids."""
    finish: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    """Canvases (b, H, W, 3) and shown sizes (b, 2) → pictures (b, H, W, 3) float32, normalised."""
    num_partners: int = 0

    def __call__(self, photo: tf.Tensor, boxes: tf.Tensor, class_ids: tf.Tensor, seed: tf.Tensor) -> tuple[Any, ...]:
        """Returns the picture (H, W, 3), boxes and class ids that one photo makes, its own partner."""
        own = Photo(photo, boxes, class_ids)
        canvas, shown, boxes, class_ids = self.draw(own, [lambda: own] * self.num_partners, seed)
        return self.finish(canvas[None], shown[None])[0], boxes, class_ids


@dataclass(frozen=True, kw_only=True)
class TrainingStream:
    """What of which shards makes a training batch."""

    files: tuple[str, ...]
    batch_size: int
    """Of all hosts together."""
    max_instances: int
    """Boxes kept of a picture; of more, the largest."""
    canvas: tuple[int, int]
    """Height and width."""
    seed: int
    skip_crowd: bool = True
    repeat_first_batch: bool = False
    """Yield one batch for ever."""
    num_hosts: int = 1
    host_index: int = 0
    """Which share of each batch is wanted here; the order of the samples is the same for all."""
    weights: np.ndarray | None = field(default=None, compare=False)
    """How often each record is drawn, relative to the others; see `order.Order`."""
    cache: Callable[[tf.Tensor], tf.Tensor] | None = None
    """Number of a record → its photo, where photos are kept decoded; see `cache`."""

    def __post_init__(self) -> None:
        """Checks that the batch can be shared."""
        if self.batch_size % self.num_hosts or not 0 <= self.host_index < self.num_hosts:
            raise ValueError(
                "batch_size must divide evenly among the hosts, and host_index number one of them. Received "
                f"batch_size={self.batch_size}, num_hosts={self.num_hosts}, host_index={self.host_index}."
            )

    @property
    def share(self) -> slice:
        """Returns this host's rows of a batch."""
        size = self.batch_size // self.num_hosts
        return slice(self.host_index * size, (self.host_index + 1) * size)


def training_batches(stream: TrainingStream, vary: Variation, *, position: int = 0) -> tf.data.Dataset:
    """Yields (images (b, H, W, 3) float32, GroundTruth) for ever, from sample number `position` on."""
    index = index_records(stream.files)
    read = PhotoReader(index, skip_crowd=stream.skip_crowd, cache=stream.cache)

    def prepare(number: tf.Tensor, row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, GroundTruth]:
        seed = tf.stack([tf.cast(stream.seed, tf.int64), number])
        partners = [lambda column=column: read(row[column]) for column in range(1, 1 + vary.num_partners)]
        canvas, shown, boxes, class_ids = vary.draw(read(row[0]), partners, seed)
        return tf.ensure_shape(canvas, (*stream.canvas, 3)), shown, _padded(boxes, class_ids, stream.max_instances)

    def finish(canvases: tf.Tensor, shown: tf.Tensor, truth: GroundTruth) -> tuple[tf.Tensor, GroundTruth]:
        return vary.finish(canvases, shown), truth

    order = Order(index, stream.seed, stream.weights, vary.num_partners)
    dataset = endless_rows(order, position=0 if stream.repeat_first_batch else position)
    if stream.num_hosts > 1:
        dataset = dataset.batch(stream.batch_size).map(lambda *all_of_it: [each[stream.share] for each in all_of_it])
        dataset = dataset.unbatch()
    dataset = dataset.map(prepare, num_parallel_calls=os.cpu_count() or 1, deterministic=True)
    # Pictures are batched as bytes, and become numbers of 32 bits in one go.
    dataset = dataset.batch(stream.batch_size // stream.num_hosts, drop_remainder=True).map(finish)
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


def _padded(boxes: tf.Tensor, class_ids: tf.Tensor, count: int) -> GroundTruth:
    """Returns exactly `count` boxes: the largest of more, padding behind fewer."""

    def largest() -> tuple[tf.Tensor, tf.Tensor]:
        areas = tf.reduce_prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        kept = tf.sort(tf.math.top_k(areas, count).indices)
        return tf.gather(boxes, kept), tf.gather(class_ids, kept)

    boxes, class_ids = tf.cond(tf.shape(class_ids)[0] > count, largest, lambda: (boxes, class_ids))
    missing = count - tf.shape(class_ids)[0]
    return GroundTruth(
        tf.ensure_shape(tf.pad(boxes, [[0, missing], [0, 0]], constant_values=float(PADDING)), (count, 4)),
        tf.ensure_shape(tf.pad(class_ids, [[0, missing]], constant_values=PADDING), (count,)),
    )
