"""Cached images equal the decoded images of the records."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_pipeline.data.dataset_stats import read_shard_stats
from efficientdet_pipeline.data.image_cache import cache_in_memory, cache_on_disk, free_bytes, num_bytes
from efficientdet_pipeline.data.tfrecord_reader import SampleReader, index_records
from efficientdet_pipeline.errors import DataError

COUNT = 5


@pytest.fixture
def files(write_shards: Callable, image: Callable, box_of: Callable) -> tuple[str, ...]:
    return write_shards([image(n, [box_of(n + 1)]) for n in range(3)], [image(n) for n in range(3, COUNT)])


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_image_cache_cached_images_are_the_images(kind: str, files: Any, tmp_path: Path) -> None:
    sizes = read_shard_stats(files).sizes
    assert num_bytes(sizes) == COUNT * 24 * 32 * 3
    cache = cache_in_memory(files, sizes) if kind == "memory" else cache_on_disk(files, sizes, tmp_path / "cache")
    index = index_records(files)
    plain, kept = SampleReader(index, skip_crowd=True), SampleReader(index, skip_crowd=True, cache=cache)
    numbers = tf.data.Dataset.from_tensor_slices(tf.constant([4, 0, 2, 2, 1, 3], tf.int64))
    for first, second in zip(numbers.map(plain), numbers.map(kept, num_parallel_calls=2), strict=True):
        for expected, got in zip(first, second, strict=True):
            np.testing.assert_array_equal(got, expected)


def test_image_cache_whole_file_is_used_again_and_a_broken_one_is_not(files: Any, tmp_path: Path) -> None:
    sizes = read_shard_stats(files).sizes
    cache_on_disk(files, sizes, tmp_path / "cache")
    (path,) = (tmp_path / "cache").iterdir()
    made = path.stat().st_mtime_ns
    cache_on_disk(files, sizes, tmp_path / "cache")
    assert path.stat().st_mtime_ns == made
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    cache_on_disk(files, sizes, tmp_path / "cache")
    assert path.read_bytes() == whole


def test_image_cache_record_that_lies_of_its_size_is_logged_and_leaves_nothing(files: Any, tmp_path: Path) -> None:
    sizes = read_shard_stats(files).sizes + 1
    with pytest.raises(DataError, match=r"Image 0 of the shards.*states 25x33 .*has 24x32; try --cache=none"):
        cache_on_disk(files, sizes, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_image_cache_there_is_room_here(kind: str, tmp_path: Path) -> None:
    assert free_bytes(kind, tmp_path / "not" / "there") > 0
