"""The order of the photos, from a formula.

The shards of each pass over the data are permuted by (seed, pass), the records
by a window shuffle seeded likewise. A place in the stream is then one integer,
the running number of the sample, and whoever starts there sees what a run that
never stopped would have seen.
"""

from collections.abc import Sequence

import tensorflow as tf

# Records held back for shuffling. They are serialized, so that 2,048 photos of 100 kB take 200 MB.
SHUFFLE_WINDOW = 2048
# Shards read in turns, so that neighbours in a shard do not meet in one batch.
SHARDS_IN_TURN = 16


def endless_records(files: Sequence[str], *, num_records: int, seed: int, position: int) -> tf.data.Dataset:
    """Yields (running number int64, serialized record) for ever, from sample number `position` on.

    Args:
      files: shards, in any order that is the same each time.
      num_records: records of all the files together.
    """
    first_pass, skipped = divmod(position, num_records)
    names = tf.constant(list(files))
    in_turn = min(SHARDS_IN_TURN, len(files))

    def one_pass(number: tf.Tensor) -> tf.data.Dataset:
        shuffled = tf.random.experimental.stateless_shuffle(names, seed=tf.stack([tf.cast(seed, tf.int64), number]))
        records = tf.data.Dataset.from_tensor_slices(shuffled).interleave(
            tf.data.TFRecordDataset, cycle_length=in_turn, block_length=1, num_parallel_calls=None
        )
        window = min(SHUFFLE_WINDOW, num_records)
        # The pass number makes each pass an order of its own; primes keep neighbouring seeds apart.
        return records.shuffle(window, seed=seed * 1_000_003 + number * 7919, reshuffle_each_iteration=False)

    stream = tf.data.Dataset.range(first_pass, tf.int64.max).flat_map(one_pass)
    # Skipping runs over serialized records: nothing is parsed or decoded on the way.
    return stream.skip(skipped).enumerate(start=position)


def all_records(files: Sequence[str]) -> tf.data.Dataset:
    """Yields every serialized record once, in the order of the files."""
    return tf.data.TFRecordDataset(sorted(files))
