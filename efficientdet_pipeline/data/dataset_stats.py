"""Statistics of records without decoding images: sizes, classes, and sampling weights for class balance."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from efficientdet_pipeline.data.sampler import all_in_order
from tfrmod import example as keys

_AT_ONCE = 256


class ShardStats(NamedTuple):
    """Statistics of n records, in the order of the files."""

    sizes: np.ndarray
    """(n, 2) int64, height and width of each image in pixels; zeros if a record does not state them."""
    class_ids: np.ndarray
    """(boxes,) class ids of all boxes, record by record."""
    owners: np.ndarray
    """(boxes,) record number of each box."""

    @property
    def num_boxes(self) -> np.ndarray:
        """Returns the number of boxes of each record, (n,)."""
        return np.bincount(self.owners, minlength=len(self.sizes))


def read_shard_stats(files: tuple[str, ...]) -> ShardStats:
    """Returns sizes and classes of every record; each is read once, and no image is decoded."""
    features = {
        keys.HEIGHT: tf.io.FixedLenFeature((), tf.int64, 0),
        keys.WIDTH: tf.io.FixedLenFeature((), tf.int64, 0),
        keys.LABEL: tf.io.RaggedFeature(tf.int64),
    }
    sizes, class_ids, counts = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    records = all_in_order(files).batch(_AT_ONCE)
    for parsed in records.map(lambda batch: tf.io.parse_example(batch, features)):
        sizes.append(np.stack([parsed[keys.HEIGHT], parsed[keys.WIDTH]], axis=1))
        class_ids.append(parsed[keys.LABEL].values.numpy())
        counts.append(parsed[keys.LABEL].row_lengths().numpy())
    every_count = np.concatenate(counts)
    return ShardStats(
        np.concatenate(sizes), np.concatenate(class_ids), np.repeat(np.arange(len(every_count)), every_count)
    )


class ShardBoxes(NamedTuple):
    """The boxes of all records, in the order of the files."""

    boxes: np.ndarray
    """(n, 4) float64, (y0, x0, y1, x1) in pixels of their images."""
    class_ids: np.ndarray
    """(n,) int64."""
    image_sizes: np.ndarray
    """(n, 2) int64, height and width of each box's image in pixels."""


def read_boxes(files: tuple[str, ...], *, skip_crowd: bool = True) -> ShardBoxes:
    """Returns the boxes used in training; no image is decoded.

    Boxes of records that do not state the size of their image are left out, and
    so are boxes without area.

    Args:
      files: shards.
      skip_crowd: whether crowd boxes are left out.
    """
    features: dict[str, object] = {name: tf.io.FixedLenFeature((), tf.int64, 0) for name in (keys.HEIGHT, keys.WIDTH)}
    features |= {name: tf.io.RaggedFeature(tf.float32) for name in keys.BOX}
    features |= {name: tf.io.RaggedFeature(tf.int64) for name in (keys.LABEL, keys.IS_CROWD)}
    rows = [np.zeros((0, 8))]
    records = all_in_order(files).batch(_AT_ONCE)
    for parsed in records.map(lambda batch: tf.io.parse_example(batch, features)):
        lengths = parsed[keys.LABEL].row_lengths().numpy()
        size = np.stack([parsed[keys.HEIGHT], parsed[keys.WIDTH]], axis=1)
        crowd = parsed[keys.IS_CROWD].values.numpy()
        # Records of other tools may have no crowd flag.
        crowd = crowd if len(crowd) == lengths.sum() else np.zeros(lengths.sum())
        columns = [parsed[name].values.numpy() for name in (*keys.BOX, keys.LABEL)]
        rows.append(np.column_stack([*columns, crowd, np.repeat(size, lengths, axis=0)]))
    found = np.concatenate(rows)
    sizes = found[:, 6:]
    boxes = found[:, :4] * np.tile(sizes, 2)
    is_used = np.all(boxes[:, 2:] > boxes[:, :2], axis=1) & ~(skip_crowd & (found[:, 5] > 0))
    return ShardBoxes(boxes[is_used], found[is_used, 4].astype(np.int64), sizes[is_used].astype(np.int64))


def balance_weights(contents: ShardStats, strength: float) -> np.ndarray:
    """Returns the sampling weight of each record, 1 on average: (n,).

    An image counts as its rarest class: (share of images with the most frequent
    class / share of images with its own) to the power of `strength`. One half is
    the square root of the repeat factor of LVIS (Gupta et al. 2019), with the
    most frequent class as its threshold. An image without objects counts as the
    most frequent class.
    """
    count = len(contents.sizes)
    images_with: dict[int, int] = {}
    pairs = np.unique(np.stack([contents.class_ids, contents.owners]), axis=1)
    for class_id, number in zip(*np.unique(pairs[0], return_counts=True), strict=True):
        images_with[int(class_id)] = int(number)
    weights = np.ones(count)
    most = max(images_with.values(), default=1)
    for class_id, number in images_with.items():
        owners = pairs[1][pairs[0] == class_id]
        weights[owners] = np.maximum(weights[owners], (most / number) ** strength)
    return weights * (count / weights.sum())


def boxes_beyond_limit(contents: ShardStats, max_instances: int) -> tuple[int, int]:
    """Returns the number of boxes beyond `max_instances` per image, and the number of such images."""
    beyond = np.maximum(contents.num_boxes - max_instances, 0)
    return int(beyond.sum()), int((beyond > 0).sum())
