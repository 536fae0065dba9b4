"""Input pipeline: shards to augmented, padded batches."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging
from efficientdet.any_detector import AnyDetectorConfig
from efficientdet.types import GroundTruth, TensorTree

from efficientdet_pipeline.augment.pipeline import canvas_augmenter, num_partners
from efficientdet_pipeline.augment.resize import normalize
from efficientdet_pipeline.augment.sample import Canvas, Sample
from efficientdet_pipeline.data import image_cache
from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.data.dataset_stats import ShardStats, balance_weights, boxes_beyond_limit, read_shard_stats
from efficientdet_pipeline.data.sampler import Sampler, all_records, endless_rows
from efficientdet_pipeline.data.tfrecord_reader import (
    SampleReader,
    boxes_in_pixels,
    decode_record_image,
    index_records,
    parse_difficult,
    parse_record,
)
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.augmentation import AugmentationOptions
from efficientdet_pipeline.options.loader import LoaderOptions
from efficientdet_pipeline.options.training import TrainOptions

# image (h, w, 3) uint8 → canvas (H, W, 3) float32, original pixels per canvas pixel
Fit = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

PADDING = -1


class Augmenter(NamedTuple):
    """Transformation of images to network inputs."""

    draw: Callable[[Sample, Sequence[Callable[[], Sample]], tf.Tensor], Canvas]
    """Image, readers of partners, seed (2,) → canvas, uint8."""
    finish: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    """Canvases (b, H, W, 3) and sizes of the image areas (b, 2) → images (b, H, W, 3) float32, normalized."""
    num_partners: int = 0

    def __call__(
        self, source: tf.Tensor, boxes: tf.Tensor, class_ids: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns image (H, W, 3), boxes and class ids of one augmented image, with itself as partner."""
        own = Sample(source, boxes, class_ids)
        canvas, valid_size, boxes, class_ids = self.draw(own, [lambda: own] * self.num_partners, seed)
        return self.finish(canvas[None], valid_size[None])[0], boxes, class_ids


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """Configuration of the training batches."""

    files: tuple[str, ...]
    batch_size: int
    """Batch size over all hosts."""
    max_instances: int
    """Maximum number of boxes per image; if there are more, the largest are kept."""
    canvas: tuple[int, int]
    """Height and width of the canvas."""
    seed: int
    skip_crowd: bool = True
    repeat_first_batch: bool = False
    """Whether to repeat the first batch endlessly."""
    num_hosts: int = 1
    host_index: int = 0
    """Index of this host, which gets its share of each batch; the order of samples is the same for all hosts."""
    weights: np.ndarray | None = field(default=None, compare=False)
    """Sampling weight of each record; see `sampler.Sampler`."""
    cache: Callable[[tf.Tensor], tf.Tensor] | None = None
    """Record number → its decoded image, from a cache; see `image_cache`."""

    def __post_init__(self) -> None:
        """Checks that the batch can be divided among the hosts."""
        if self.batch_size % self.num_hosts or not 0 <= self.host_index < self.num_hosts:
            raise ValueError(
                "batch_size must divide evenly among the hosts, and host_index be one of them. Received "
                f"batch_size={self.batch_size}, num_hosts={self.num_hosts}, host_index={self.host_index}."
            )

    @property
    def share(self) -> slice:
        """Returns this host's rows of a batch."""
        size = self.batch_size // self.num_hosts
        return slice(self.host_index * size, (self.host_index + 1) * size)


def training_batches(stream: InputConfig, augmenter: Augmenter, *, position: int = 0) -> tf.data.Dataset:
    """Yields (images (b, H, W, 3) float32, GroundTruth), endless, starting at sample number `position`."""
    index = index_records(stream.files)
    read = SampleReader(index, skip_crowd=stream.skip_crowd, cache=stream.cache)

    def prepare(number: tf.Tensor, row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, GroundTruth]:
        seed = tf.stack([tf.cast(stream.seed, tf.int64), number])
        partners = [lambda column=column: read(row[column]) for column in range(1, 1 + augmenter.num_partners)]
        canvas, valid_size, boxes, class_ids = augmenter.draw(read(row[0]), partners, seed)
        truth = padded_truth(boxes, class_ids, stream.max_instances)
        return tf.ensure_shape(canvas, (*stream.canvas, 3)), valid_size, truth

    def finish(canvases: tf.Tensor, valid_size: tf.Tensor, truth: GroundTruth) -> tuple[tf.Tensor, GroundTruth]:
        return augmenter.finish(canvases, valid_size), truth

    order = Sampler(index, stream.seed, stream.weights, augmenter.num_partners)
    return batches_in_order(stream, order, prepare, finish, position=position)


def batches_in_order(
    stream: InputConfig,
    order: Sampler,
    prepare: Callable[[tf.Tensor, tf.Tensor], tuple[TensorTree, ...]],
    finish: Callable[..., tuple[tf.Tensor, TensorTree]],
    *,
    position: int,
) -> tf.data.Dataset:
    """Yields this host's batches, endless, from sample number `position` on.

    Args:
      stream: files, batch size and hosts.
      order: of the records.
      prepare: number of a sample, its row of record numbers → values of one image.
      finish: the same values of a batch → images and truth.
      position: number of the first sample.
    """
    dataset = endless_rows(order, position=0 if stream.repeat_first_batch else position)
    if stream.num_hosts > 1:
        dataset = dataset.batch(stream.batch_size).map(lambda *all_of_it: [each[stream.share] for each in all_of_it])
        dataset = dataset.unbatch()
    dataset = dataset.map(prepare, num_parallel_calls=os.cpu_count() or 1, deterministic=True)
    # Images are batched as uint8, and converted to float32 at once.
    dataset = dataset.batch(stream.batch_size // stream.num_hosts, drop_remainder=True).map(finish)
    if stream.repeat_first_batch:
        dataset = dataset.take(1).cache().repeat()
    return dataset.prefetch(2).with_options(_options())


class EvaluationBatch(NamedTuple):
    """Images and ground truth, padded with zeros to the maximum number of boxes in the batch."""

    images: tf.Tensor
    """(b, H, W, 3) float32, normalised."""
    scales: tf.Tensor
    """(b,) original pixels per canvas pixel."""
    sizes: tf.Tensor
    """(b, 2) height and width of the image in pixels."""
    source_ids: tf.Tensor
    boxes_original: tf.Tensor
    """(b, n, 4) pixels of the image."""
    class_ids: tf.Tensor
    is_crowd: tf.Tensor
    areas: tf.Tensor
    num_boxes: tf.Tensor
    """(b,) number of boxes without padding."""
    is_difficult: tf.Tensor
    file_names: tf.Tensor


def evaluation_batches(
    files: Sequence[str], fit: Fit, *, batch_size: int, limit: int | None = None, numbers: Sequence[int] | None = None
) -> tf.data.Dataset:
    """Yields `EvaluationBatch` over every image once; the last batch may be smaller.

    Args:
      files: the shards; their records are numbered in the order of the sorted names.
      fit: resizes an image to the network's canvas.
      batch_size: images per batch.
      limit: number of images from the start; None means all.
      numbers: record numbers to evaluate, ascending; None means all.
    """

    # Converting it to a graph with autograph would take longer than tracing it.
    @tf.autograph.experimental.do_not_convert
    def prepare(serialized: tf.Tensor) -> EvaluationBatch:
        record = parse_record(serialized)
        source = decode_record_image(record.encoded, record.file_name)
        image, scale = fit(source)
        return EvaluationBatch(
            image,
            scale,
            tf.shape(source)[:2],
            record.source_id,
            boxes_in_pixels(record, source),
            record.class_ids,
            record.is_crowd,
            record.areas,
            tf.shape(record.class_ids)[0],
            parse_difficult(serialized),
            record.file_name,
        )

    dataset = all_records(files, numbers)
    if limit is not None:
        dataset = dataset.take(limit)
    dataset = dataset.map(prepare, num_parallel_calls=os.cpu_count() or 1, deterministic=True)
    return dataset.padded_batch(batch_size).prefetch(2).with_options(_options())


def _options() -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    # Parallelism is fixed here; the autotuner's thread would delay the end of each run by up to a minute.
    options.autotune.enabled = False
    return options


def padded_truth(boxes: tf.Tensor, class_ids: tf.Tensor, count: int) -> GroundTruth:
    """Returns exactly `count` boxes: the largest ones, or all with padding at the end."""

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


def build_augmenter(
    options: AugmentationOptions, config: AnyDetectorConfig, *, mixing_ends: int | None = None
) -> Augmenter:
    """Returns the augmenter of the options for a network.

    Args:
      options: of a run.
      config: its canvas, mean and standard deviation are used.
      mixing_ends: number of the first sample without mosaic, mixup and copy-paste; None: never.
    """
    augment = canvas_augmenter(
        options, config.image_size, mixing_ends=mixing_ends, keeps_proportions=config.resize == "letterbox"
    )

    # Compiled with XLA, the conversion from bytes to floats is one pass over the batch, in a fifth of the time; XLA
    # is slow on CPUs for convolutions only.
    @tf.function(jit_compile=True)
    def finish(canvases: tf.Tensor, valid_size: tf.Tensor) -> tf.Tensor:
        return normalize(
            canvases, valid_size, mean=config.mean_rgb, std=config.stddev_rgb, scale_range=config.scale_range
        )

    return Augmenter(augment, finish, num_partners(options))


MIXED_BOXES = 2
"""Maximum number of boxes of a combined image, as a multiple of that of a single image; more are rare."""


@contextmanager
def open_input_config(
    options: TrainOptions, shards: Shards, canvas: tuple[int, int], cache_folder: Path
) -> Iterator[InputConfig]:
    """Yields the input configuration of the training shards; cache files on disk are deleted at the end.

    Args:
      options: of the training.
      shards: their paths and the maximum number of boxes per image.
      canvas: height and width of the network's canvas.
      cache_folder: folder for decoded images.
    """
    _warn_without_effect(options)
    contents = read_shard_stats(shards.train) if _needs_stats(options) else None
    if contents is not None and options.max_instances_per_image:
        _log_dropped_boxes(contents, options.max_instances_per_image)
    mixed = options.augmentation.augment and (
        options.augmentation.mosaic or options.augmentation.mixup or options.augmentation.copy_paste
    )
    try:
        yield InputConfig(
            files=shards.train,
            batch_size=options.optimizer.batch_size,
            max_instances=shards.max_instances * (MIXED_BOXES if mixed else 1),
            canvas=canvas,
            seed=options.seed.tf_random_seed,
            skip_crowd=options.skip_crowd_during_training,
            repeat_first_batch=options.use_fake_data,
            weights=_weights(options.loader, contents),
            cache=_cached(options.loader.cache, shards.train, contents, cache_folder) if contents is not None else None,
        )
    finally:
        if options.loader.cache == "disk":
            shutil.rmtree(cache_folder, ignore_errors=True)


def close_mosaic_step(options: AugmentationOptions, *, num_epochs: int, samples_per_epoch: int) -> int | None:
    """Returns the number of the first sample without mosaic, mixup and copy-paste; None if there is no limit."""
    return max(0, num_epochs - options.close_mosaic) * samples_per_epoch if options.close_mosaic else None


def _needs_stats(options: TrainOptions) -> bool:
    return bool(options.loader.class_balance or options.loader.cache != "none" or options.max_instances_per_image)


def _weights(options: LoaderOptions, contents: ShardStats | None) -> np.ndarray | None:
    if contents is None or not options.class_balance:
        return None
    weights = balance_weights(contents, options.class_balance)
    logging.info(
        "class_balance=%g: images of the rarest class are drawn %.1f times per epoch, the most frequent %.2f times.",
        options.class_balance,
        weights.max(),
        weights.min(),
    )
    return weights


def _log_dropped_boxes(contents: ShardStats, most: int) -> None:
    num_boxes, num_images = boxes_beyond_limit(contents, most)
    if num_boxes:
        logging.warning(
            "max_instances_per_image is %d, but an image has up to %d boxes: the smallest %d boxes of %d images are "
            "not used in training.",
            most,
            contents.num_boxes.max(),
            num_boxes,
            num_images,
        )


def _cached(
    kind: str, files: tuple[str, ...], contents: ShardStats, folder: Path
) -> Callable[[tf.Tensor], tf.Tensor] | None:
    if kind == "none":
        return None
    if not contents.sizes.all():
        raise OptionsError(
            "cache needs records with the size of their images (image/height, image/width). "
            f"Received cache={kind} with {files[0]}, which has none; leave it out.",
            option="cache",
        )
    needed, free = image_cache.num_bytes(contents.sizes), image_cache.free_bytes(kind, folder)
    if needed > free:
        other = "--cache=disk, or " if kind == "memory" else ""
        raise OptionsError(
            f"cache={kind} needs {needed / 1e9:.1f} GB for the decoded images. Received {free / 1e9:.1f} GB of free "
            f"{'memory' if kind == 'memory' else f'space at {folder}'}; try {other}--cache=none.",
            option="cache",
        )
    logging.info(
        "Decoding images once: %d, %.2f GB, cached %s.", len(contents.sizes), needed / 1e9, _CACHE_LOCATIONS[kind]
    )
    if kind == "memory":
        return image_cache.cache_in_memory(files, contents.sizes)
    return image_cache.cache_on_disk(files, contents.sizes, folder)


_CACHE_LOCATIONS = {"memory": "in memory", "disk": "on disk"}


def _warn_without_effect(options: TrainOptions) -> None:
    augmentation = options.augmentation
    mixing = [name for name in ("mosaic", "mixup", "copy_paste") if getattr(augmentation, name)]
    others = augmentation.autoaugment_policy or augmentation.grid_mask or augmentation.augment_steps
    if not augmentation.augment and (mixing or others):
        logging.warning("--noaugment disables all augmentation; other augmentation options are ignored.")
    if augmentation.close_mosaic and not mixing:
        logging.warning("close_mosaic has no effect without mosaic, mixup or copy_paste.")
    elif mixing and augmentation.close_mosaic >= options.optimizer.num_epochs:
        logging.warning(
            "close_mosaic=%d is not below num_epochs=%d: %s are never applied.",
            augmentation.close_mosaic,
            options.optimizer.num_epochs,
            ", ".join(mixing),
        )
    if augmentation.randaug_magnitude != 10.0 and augmentation.autoaugment_policy != "randaug":
        logging.warning("randaug_magnitude has no effect without --autoaugment_policy=randaug.")
