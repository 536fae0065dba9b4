"""The order of the photos is a function of seed and position."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import keras
import pytest

from efficientdet_pipeline.data.order import all_records, endless_records
from tfrmod.example import decode_example

SIZES = (5, 1, 4, 3)
TOTAL = sum(SIZES)


@pytest.fixture
def files(write_shards: Callable, image: Callable) -> tuple[str, ...]:
    numbers = iter(range(TOTAL))
    return write_shards(*([image(next(numbers)) for _ in range(size)] for size in SIZES))


def order(files: Sequence[str], count: int, *, seed: int = 1, position: int = 0) -> list[tuple[int, str]]:
    stream = endless_records(files, num_records=TOTAL, seed=seed, position=position).take(count)
    return [(int(number), decode_example(record.numpy()).source_id) for number, record in stream]


def test_the_running_number_counts_samples(files: Any) -> None:
    assert [number for number, _ in order(files, 30)] == list(range(30))
    assert [number for number, _ in order(files, 3, position=40)] == [40, 41, 42]


def test_each_pass_holds_every_record_once(files: Any) -> None:
    ids = [name for _, name in order(files, 3 * TOTAL)]
    everyone = sorted(map(str, range(TOTAL)))
    for first in range(0, 3 * TOTAL, TOTAL):
        assert sorted(ids[first : first + TOTAL]) == everyone


def test_no_two_passes_are_alike(files: Any) -> None:
    ids = [name for _, name in order(files, 6 * TOTAL)]
    passes = [ids[first : first + TOTAL] for first in range(0, len(ids), TOTAL)]
    assert all(one != other for one, other in pairwise(passes))


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_the_same_seed_gives_the_same_order(files: Any, seed: int) -> None:
    assert order(files, 2 * TOTAL, seed=seed) == order(files, 2 * TOTAL, seed=seed)


def test_another_seed_gives_another_order(files: Any) -> None:
    orders = [order(files, TOTAL, seed=seed) for seed in range(4)]
    assert all(one != other for one, other in pairwise(orders))


@pytest.mark.parametrize("position", [1, TOTAL - 1, TOTAL, TOTAL + 1, 2 * TOTAL + 5])
def test_starting_at_a_position_is_skipping_up_to_it(files: Any, position: int) -> None:
    assert order(files, TOTAL, position=position) == order(files, position + TOTAL)[position:]


def test_the_order_of_a_run_is_that_of_its_continuation_in_a_seeded_process(files: Any) -> None:
    # Training seeds every generator before it reads.
    keras.utils.set_random_seed(5)
    whole = order(files, 2 * TOTAL)
    keras.utils.set_random_seed(5)
    assert order(files, TOTAL, position=TOTAL) == whole[TOTAL:]


def test_a_single_shard_is_shuffled_too(write_shards: Callable, image: Callable) -> None:
    files = write_shards([image(number) for number in range(TOTAL)])
    first = [name for _, name in order(files, TOTAL)]
    assert first != sorted(first, key=int)
    assert sorted(first, key=int) == list(map(str, range(TOTAL)))


def test_evaluation_reads_every_record_in_the_order_of_the_files(files: Any) -> None:
    ids = [decode_example(record.numpy()).source_id for record in all_records(tuple(reversed(files)))]
    assert ids == list(map(str, range(TOTAL)))
