"""Batches of images with boxes and the class of each pixel, for networks with both heads of google/automl.

The map of an image is painted from the masks of its objects: value 0 where no
object is, else the class id; small objects cover large ones. The box of an
object without a mask does not count, except where another object covers it.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
from efficientdet.config import DetectorConfig
from efficientdet.preprocess import fit_to_canvas

from efficientdet_pipeline.augment.resize import normalize
from efficientdet_pipeline.augment.sample import Sample, compose
from efficientdet_pipeline.augment.semantic_map import (
    IGNORE_ID,
    SemanticAugmentConfig,
    SemanticSample,
    changed_map,
    fit_semantic_sample,
    pad_semantic_sample,
    random_window,
)
from efficientdet_pipeline.data.input_pipeline import InputConfig, batches_in_order, padded_truth
from efficientdet_pipeline.data.sampler import Sampler, all_records
from efficientdet_pipeline.data.tfrecord_reader import (
    RecordReader,
    boxes_in_pixels,
    decode_record_image,
    index_records,
    parse_record,
    without_crowd,
)
from tfrmod import example as keys
from tfrmod.example import decode_example
from tfrmod.tfrecord_io import read_records

MAX_CLASSES = IGNORE_ID - 1
"""Largest class id of a map."""

_MASKS = {keys.MASK: tf.io.VarLenFeature(tf.string)}


class BoxMapTruth(NamedTuple):
    """Ground truth of a batch."""

    boxes: tf.Tensor
    """(b, n, 4) float32, canvas pixels; -1 in padding rows."""
    class_ids: tf.Tensor
    """(b, n) int32, 1-based; -1 in padding rows."""
    semantic_map: tf.Tensor
    """(b, H, W) int32, class ids from 0, or `IGNORE_ID`."""


class BoxMapImage(NamedTuple):
    """A validation image on the canvas, and its map there."""

    image: tf.Tensor
    """(1, H, W, 3) float32, normalized."""
    semantic_map: tf.Tensor
    """(H, W) uint8, class ids from 0, or `IGNORE_ID`."""


def has_masks(files: Sequence[str]) -> bool:
    """Returns whether an object of the records has a mask; reads up to the first one that has."""
    for file in files:
        for record in read_records(Path(file)):
            if any(thing.mask for thing in decode_example(record).objects):
                return True
    return False


def painted_map(masks: tf.Tensor, class_ids: tf.Tensor, boxes: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Returns the class of each pixel (h, w), uint8.

    Args:
      masks: (n,) PNGs of the size of the image, not 0 inside the object; (0,) if no object of the image has one.
      class_ids: (n,) int32, 1-based.
      boxes: (n, 4) float32, pixels of the image.
      size: (2,) int32, height and width of the image.
    """
    boxes = tf.cast(tf.round(boxes), tf.int32)
    rows, columns = tf.range(size[0])[None, :, None], tf.range(size[1])[None, None, :]
    top, left, bottom, right = (side[:, None, None] for side in tf.unstack(boxes, axis=1))
    in_box = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)

    def decoded(png: tf.Tensor) -> tf.Tensor:
        return tf.io.decode_png(png, channels=1)[..., 0] > 0

    nothing = tf.zeros_like(in_box)
    one_mask = tf.TensorSpec((None, None), tf.bool)
    areas = tf.cond(
        tf.size(masks) > 0, lambda: tf.map_fn(decoded, masks, fn_output_signature=one_mask), lambda: nothing
    )
    fits = tf.debugging.Assert(
        tf.reduce_all(tf.shape(areas) == tf.shape(in_box)),
        ["Each object of a record must have a mask of the size of the image.", tf.shape(areas), tf.shape(in_box)],
    )
    with tf.control_dependencies([fits]):
        counts = tf.reduce_sum(tf.cast(areas, tf.int32), axis=[1, 2])
    has_mask = counts > 0
    # Painted in this order: boxes without masks first, then from large to small.
    order = tf.argsort(tf.where(has_mask, -counts, -(2**30)), stable=True)
    painted = tf.where(has_mask[:, None, None], areas, in_box)
    values = tf.where(has_mask, class_ids, IGNORE_ID)
    ranks = tf.where(tf.gather(painted, order), tf.range(1, tf.size(order) + 1)[:, None, None], 0)
    top_rank = tf.reduce_max(tf.pad(ranks, [[1, 0], [0, 0], [0, 0]]), axis=0)
    return tf.cast(tf.gather(tf.concat([[0], tf.gather(values, order)], axis=0), top_rank), tf.uint8)


def _parsed(serialized: tf.Tensor, *, skip_crowd: bool) -> tuple[Sample, tf.Tensor]:
    """Returns the image with its boxes, and its map; crowds stay in the map."""
    record = parse_record(serialized)
    image = decode_record_image(record.encoded, record.file_name)
    masks = tf.io.parse_single_example(serialized, _MASKS)[keys.MASK].values
    semantic_map = painted_map(masks, record.class_ids, boxes_in_pixels(record, image), tf.shape(image)[:2])
    kept = without_crowd(record) if skip_crowd else record
    return Sample(image, boxes_in_pixels(kept, image), kept.class_ids), semantic_map


def training_box_map_batches(
    stream: InputConfig,
    augment: SemanticAugmentConfig,
    config: DetectorConfig,
    *,
    min_visibility: float,
    position: int = 0,
) -> tf.data.Dataset:
    """Yields (images (b, H, W, 3) float32, `BoxMapTruth`), endless, from sample number `position` on.

    Order and augmentation are functions of (seed, sample number), so that a resumed run gets the same samples.

    Args:
      stream: of the records; its cache is not used.
      augment: flips, scale jitter and color are used; boxes are not rotated.
      config: of the network.
      min_visibility: least share of a box inside the window.
      position: number of the first sample.
    """
    index = index_records(stream.files)
    read = RecordReader(index)
    change, map_change = (
        compose([*augment.flips, random_window(augment, method=way, min_visibility=min_visibility)])
        for way in ("bilinear", "nearest")
    )

    def prepare(number: tf.Tensor, row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, BoxMapTruth]:
        seed = tf.stack([tf.cast(stream.seed, tf.int64), number])
        geometry_seed, color_seed = tf.unstack(tf.random.split(seed))
        sample, semantic_map = _parsed(read(row[0]), skip_crowd=stream.skip_crowd)
        changed = augment.in_color(change(sample, geometry_seed), color_seed)
        moved = changed_map(semantic_map, geometry_seed, map_change)
        canvas = pad_semantic_sample(SemanticSample(changed.image, moved), augment.canvas_size)
        boxes, class_ids = padded_truth(changed.boxes, changed.class_ids, stream.max_instances)
        image = tf.ensure_shape(canvas.image, (*stream.canvas, 3))
        return image, canvas.valid_size, BoxMapTruth(boxes, class_ids, tf.cast(canvas.semantic_map, tf.int32))

    def finish(canvases: tf.Tensor, valid_size: tf.Tensor, truth: BoxMapTruth) -> tuple[tf.Tensor, BoxMapTruth]:
        images = normalize(
            canvases, valid_size, mean=config.mean_rgb, std=config.stddev_rgb, scale_range=config.scale_range
        )
        return images, truth

    return batches_in_order(stream, Sampler(index, stream.seed, stream.weights), prepare, finish, position=position)


def evaluation_box_map_images(
    files: Sequence[str], config: DetectorConfig, *, numbers: Sequence[int] | None = None
) -> tf.data.Dataset:
    """Yields `BoxMapImage` over every image once, in order, or over those with the given record numbers."""

    def prepare(serialized: tf.Tensor) -> BoxMapImage:
        sample, semantic_map = _parsed(serialized, skip_crowd=False)
        canvas = fit_semantic_sample(SemanticSample(sample.image, semantic_map), config.image_size)
        return BoxMapImage(fit_to_canvas(sample.image, config)[0][None], canvas.semantic_map)

    dataset = all_records(files, numbers)
    return dataset.map(prepare, num_parallel_calls=os.cpu_count() or 1, deterministic=True).prefetch(2)
