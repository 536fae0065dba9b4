"""The order of the images is a function of seed and position."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from efficientdet_pipeline.data import sampler as page
from efficientdet_pipeline.data.sampler import Sampler, all_records, endless_rows, pass_order, pass_rows
from efficientdet_pipeline.data.tfrecord_reader import RecordIndex, RecordReader, index_records
from efficientdet_pipeline.errors import DataError
from tfrmod.example import decode_example

SIZES = (5, 1, 4, 3)
TOTAL = sum(SIZES)


@pytest.fixture
def files(write_shards: Callable, image: Callable) -> tuple[str, ...]:
    numbers = iter(range(TOTAL))
    return write_shards(*([image(next(numbers)) for _ in range(size)] for size in SIZES))


def imagined(*sizes: int) -> RecordIndex:
    """Returns the index of shards that do not exist."""
    shards = np.repeat(np.arange(len(sizes)), sizes)
    return RecordIndex(tuple(map(str, range(len(sizes)))), shards, np.zeros_like(shards), np.zeros_like(shards))


def rows(files: Sequence[str], count: int, *, seed: int = 1, position: int = 0) -> list[tuple[int, list[int]]]:
    order = Sampler(index_records(files), seed, num_partners=2)
    return [(int(number), row.numpy().tolist()) for number, row in endless_rows(order, position=position).take(count)]


def test_sampler_any_record_is_read_by_its_number(files: Any) -> None:
    read = RecordReader(index_records(files))
    numbers = tf.data.Dataset.from_tensor_slices(tf.constant([12, 0, 5, 5, 6], tf.int64))
    ids = [decode_example(record.numpy()).source_id for record in numbers.map(read)]
    assert ids == ["12", "0", "5", "5", "6"]


def test_sampler_file_that_ends_too_early_is_logged(files: Any, tmp_path: Any) -> None:
    content = Path(files[0]).read_bytes()
    short = tmp_path / "short.tfrecord"
    for length in (len(content) - 1, 3):
        short.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"short\.tfrecord must be a complete TFRecord file\. Record . .*copy them"):
            index_records([str(short)])


def test_sampler_damaged_record_is_not_taken_for_an_image(files: Any, tmp_path: Any) -> None:
    content = bytearray(Path(files[1]).read_bytes())
    content[40] ^= 255
    damaged = tmp_path / "damaged.tfrecord"
    damaged.write_bytes(content)
    with pytest.raises(tf.errors.DataLossError):
        RecordReader(index_records([str(damaged)]))(tf.constant(0, tf.int64))


def test_sampler_running_number_counts_samples(files: Any) -> None:
    assert [number for number, _ in rows(files, 30)] == list(range(30))
    assert [number for number, _ in rows(files, 3, position=40)] == [40, 41, 42]


def test_sampler_each_pass_holds_every_record_once(files: Any) -> None:
    records = [row[0] for _, row in rows(files, 3 * TOTAL)]
    for first in range(0, 3 * TOTAL, TOTAL):
        assert sorted(records[first : first + TOTAL]) == list(range(TOTAL))


def test_sampler_no_two_passes_and_no_two_seeds_are_alike() -> None:
    index = imagined(*SIZES)
    passes = [pass_order(Sampler(index, seed), number).tolist() for seed in range(4) for number in range(6)]
    assert len({tuple(each) for each in passes}) == len(passes)


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_sampler_same_seed_gives_the_same_order(files: Any, seed: int) -> None:
    assert rows(files, 2 * TOTAL, seed=seed) == rows(files, 2 * TOTAL, seed=seed)


@pytest.mark.parametrize("position", [1, TOTAL - 1, TOTAL, TOTAL + 1, 2 * TOTAL + 5])
def test_sampler_starting_at_a_position_is_skipping_up_to_it(files: Any, position: int) -> None:
    assert rows(files, TOTAL, position=position) == rows(files, position + TOTAL)[position:]


def test_sampler_order_of_a_run_is_that_of_its_continuation_in_a_seeded_process(files: Any) -> None:
    # Training seeds every generator before it reads.
    keras.utils.set_random_seed(5)
    whole = rows(files, 2 * TOTAL)
    keras.utils.set_random_seed(5)
    assert rows(files, TOTAL, position=TOTAL) == whole[TOTAL:]


def test_sampler_order_stays_the_same_from_version_to_version() -> None:
    # A later version of the program or of NumPy may resume a run.
    assert pass_rows(Sampler(imagined(*SIZES), 7, num_partners=1), 3).tolist() == RECORDED


RECORDED = [
    *([1, 7], [12, 3], [7, 12], [9, 4], [5, 2], [8, 6], [11, 1]),
    *([6, 0], [4, 9], [10, 5], [2, 8], [3, 0], [0, 7]),
]


def test_sampler_partners_are_others_of_the_same_pass() -> None:
    order = Sampler(imagined(40), 1, num_partners=5)
    table = pass_rows(order, 2)
    assert table.shape == (40, 6)
    assert (table[:, 1:] != table[:, :1]).all()
    assert len(np.unique(table[:, 1:])) > 35


def test_sampler_single_image_is_its_own_partner() -> None:
    assert pass_rows(Sampler(imagined(1), 1, num_partners=2), 0).tolist() == [[0, 0, 0]]


def test_sampler_neighbours_stay_within_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    # With 12 shards, 3 interleaved, and windows of 20, only a few places on disk are read at any time.
    monkeypatch.setattr(page, "INTERLEAVED_SHARDS", 3)
    monkeypatch.setattr(page, "SHUFFLE_WINDOW", 20)
    index = imagined(*[50] * 12)
    order = Sampler(index, 1, num_partners=3)
    table = pass_rows(order, 0)
    assert sorted(table[:, 0]) == list(range(600))
    shards_at_once = [len(set(index.shards[table[first : first + 20, 0]])) for first in range(0, 600, 20)]
    assert max(shards_at_once) <= 6
    place = np.argsort(table[:, 0])
    distance = (place[table[:, 1:]] - np.arange(600)[:, None]) % 600
    assert distance.min() >= 1
    assert distance.max() < 20
    assert (np.abs(np.diff(table[:, 0])) > 1).mean() > 0.9


def test_sampler_single_shard_is_shuffled_too() -> None:
    first = pass_order(Sampler(imagined(TOTAL), 1), 0).tolist()
    assert first != sorted(first)
    assert sorted(first) == list(range(TOTAL))


@pytest.mark.parametrize("weights", [[1.0] * 10, [0.5] * 8 + [3.0, 3.0], [0.1] * 9 + [9.1]])
def test_sampler_records_come_as_often_as_they_weigh(weights: list[float]) -> None:
    order = Sampler(imagined(6, 4), 1, np.array(weights))
    counts = np.stack([np.bincount(pass_order(order, number), minlength=10) for number in range(400)])
    assert (counts.sum(axis=1) == 10).all()
    assert (np.abs(counts - weights) < 1).all()  # rounded up or down, never more
    np.testing.assert_allclose(counts.mean(axis=0), weights, atol=0.08)
    # The draws are independent enough that the same rare pair does not always occur together.
    if weights[0] == 0.5:
        together = np.corrcoef(counts[:, :8].T)
        assert np.abs(together[~np.eye(8, dtype=bool)]).max() < 0.4


def test_sampler_evaluation_reads_every_record_in_the_order_of_the_files(files: Any) -> None:
    ids = [decode_example(record.numpy()).source_id for record in all_records(tuple(reversed(files)))]
    assert ids == list(map(str, range(TOTAL)))


def test_all_records_yields_the_records_of_given_numbers(files: Any) -> None:
    chosen = all_records(tuple(reversed(files)), [7, 2, 11])
    assert [decode_example(record.numpy()).source_id for record in chosen] == ["7", "2", "11"]
