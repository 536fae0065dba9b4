"""Sampler: the order of images as a function of seed and position.

An epoch is a list of record numbers, which is a function of (seed, epoch). A
position in the data is therefore one integer, the running number of the sample,
and a resumed run gets the same samples as an uninterrupted one, without reading
up to the position. Neighbours in the list are near each other on disk, for data
sets that are larger than the memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from efficientdet_pipeline.data.tfrecord_reader import RecordIndex, RecordReader, index_records

# Window in which records are shuffled, and from which an image's partners are drawn.
SHUFFLE_WINDOW = 2048
# Shards that are read interleaved, so that neighbours in a shard are not in the same batch.
INTERLEAVED_SHARDS = 16


@dataclass(frozen=True, eq=False)
class Sampler:
    """Parameters of the order of samples."""

    index: RecordIndex
    seed: int
    weights: np.ndarray | None = None
    """(n,) sampling weights of the records; None: each once per epoch."""
    num_partners: int = 0
    """Number of other records per sample, for augmentations that combine images."""


def pass_order(order: Sampler, number: int) -> np.ndarray:
    """Returns the records of epoch `number`, as many as there are: (n,) int64.

    Shards are permuted and interleaved; then records are shuffled within windows,
    the first of which starts at a random position.
    """
    random = np.random.RandomState([order.seed, number])
    shards, count = order.index.shards, len(order.index)
    turn = np.argsort(random.permutation(len(order.index.files)))[shards]
    first_of_shard = np.searchsorted(shards, np.arange(len(order.index.files)))
    within = np.arange(count) - first_of_shard[shards]
    sequence = np.lexsort((turn, within, turn // INTERLEAVED_SHARDS))
    if order.weights is not None:
        sequence = _weighted_draw(sequence, order.weights, random)
    sequence = np.roll(sequence, random.randint(count))
    return sequence[np.argsort(np.arange(count) // SHUFFLE_WINDOW + random.random_sample(count))]


def _weighted_draw(sequence: np.ndarray, weights: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Returns as many records as before, each as often as its weight, rounded up or down at random.

    Equally spaced points are laid over the weights, concatenated in random order
    (systematic sampling), so that the length of an epoch is constant and a weight
    of 2.5 means 2 or 3 times.
    """
    count = len(sequence)
    shuffled = random.permutation(count)
    ends = np.cumsum(weights[shuffled])
    points = (np.arange(count) + random.random_sample()) * (ends[-1] / count)
    times = np.zeros(count, np.int64)
    np.add.at(times, shuffled[np.minimum(np.searchsorted(ends, points, side="right"), count - 1)], 1)
    return np.repeat(sequence, times[sequence])


def pass_rows(order: Sampler, number: int) -> np.ndarray:
    """Returns the records of an epoch, each followed by its partners: (n, 1 + partners) int64.

    Partners are other records of the same epoch, at most a window away.
    """
    records = pass_order(order, number)
    count, columns = len(records), order.num_partners
    random = np.random.RandomState([order.seed, number, 1])
    away = random.randint(1, max(2, min(SHUFFLE_WINDOW, count)), size=(count, columns))
    partners = records[(np.arange(count)[:, None] + away) % count]
    return np.concatenate([records[:, None], partners], axis=1).astype(np.int64)


def endless_rows(order: Sampler, *, position: int) -> tf.data.Dataset:
    """Yields (sample number int64, record and partners (1 + partners,) int64), endless, from `position` on."""
    first_pass, skipped = divmod(position, len(order.index))

    def one_pass(number: tf.Tensor) -> tf.data.Dataset:
        rows = tf.numpy_function(lambda each: pass_rows(order, int(each)), [number], tf.int64)
        rows = tf.ensure_shape(rows, (len(order.index), 1 + order.num_partners))
        return tf.data.Dataset.from_tensor_slices(rows[tf.where(number == first_pass, skipped, 0) :])

    return tf.data.Dataset.range(first_pass, tf.int64.max).flat_map(one_pass).enumerate(start=position)


def all_in_order(files: Sequence[str]) -> tf.data.Dataset:
    """Yields every serialized record once, in the numbering of `RecordIndex`."""
    return tf.data.TFRecordDataset(list(files))


def all_records(files: Sequence[str], numbers: Sequence[int] | None = None) -> tf.data.Dataset:
    """Yields every serialized record once, in the order of the sorted files.

    Args:
      files: the shards; their records are numbered in the order of the sorted names.
      numbers: of the records to yield, in this order; None for all.
    """
    if numbers is None:
        return tf.data.TFRecordDataset(sorted(files))
    read = RecordReader(index_records(sorted(files)))
    return tf.data.Dataset.from_tensor_slices(np.asarray(numbers, np.int64)).map(read)
