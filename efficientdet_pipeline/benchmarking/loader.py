"""Throughput of the input pipeline, stage by stage."""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.data.dataset_stats import read_shard_stats
from efficientdet_pipeline.data.input_pipeline import (
    Augmenter,
    InputConfig,
    build_augmenter,
    open_input_config,
    training_batches,
)
from efficientdet_pipeline.data.sampler import Sampler, all_in_order, endless_rows
from efficientdet_pipeline.data.tfrecord_reader import RecordReader, SampleReader, index_records
from efficientdet_pipeline.models.build import Network
from efficientdet_pipeline.options.benchmark import BenchmarkOptions
from tfrmod import example as keys
from tfrmod.counted import counted

FULL_PIPELINE = "batching and normalising"
"""The last stage: the full pipeline."""
# Batches until the buffers are full.
_FILLED = 4
_FAR = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Speed of one pipeline."""

    images_per_second: float
    cpu_ms: float
    """Milliseconds of CPU time per image, over all cores; other programs hardly affect it."""
    ratio: float
    """Images per second relative to the baseline, median of the rounds."""
    cpu_ratio: float
    """CPU time of the baseline relative to this pipeline, likewise."""


def decode_only(stream: InputConfig) -> tf.data.Dataset:
    """Yields batches of decoded images only: the baseline, without order, boxes and canvas."""
    feature = {keys.ENCODED: tf.io.FixedLenFeature((), tf.string)}

    def decoded(record: tf.Tensor) -> tf.Tensor:
        encoded = tf.io.parse_single_example(record, feature)[keys.ENCODED]
        return tf.io.decode_image(encoded, channels=3, expand_animations=False)

    images = all_in_order(stream.files).repeat().map(decoded, num_parallel_calls=os.cpu_count() or 1)
    if len(np.unique(read_shard_stats(stream.files).sizes, axis=0)) > 1:
        images = images.map(_first_value)  # Images of different sizes cannot be batched.
    return images.batch(stream.batch_size).prefetch(2)


def stages(stream: InputConfig, augmenter: Augmenter) -> dict[str, tf.data.Dataset]:
    """Returns pipelines of increasing length: each adds one stage to the one before."""
    index = index_records(stream.files)
    order = Sampler(index, stream.seed, stream.weights, augmenter.num_partners)
    read = RecordReader(index)
    read_sample = SampleReader(index, skip_crowd=stream.skip_crowd, cache=stream.cache)

    def drawn(number: tf.Tensor, row: tf.Tensor) -> tf.Tensor:
        seed = tf.stack([tf.cast(stream.seed, tf.int64), number])
        partners = [lambda column=column: read_sample(row[column]) for column in range(1, 1 + augmenter.num_partners)]
        return _first_value(augmenter.draw(read_sample(row[0]), partners, seed)[0])

    steps: dict[str, Callable[..., tf.Tensor]] = {
        "order": lambda number, row: number,
        "reading": lambda number, row: tf.strings.length(read(row[0])),
        "parsing and decoding": lambda number, row: _first_value(read_sample(row[0]).image),
        "varying": drawn,
    }
    rows = endless_rows(order, position=0)
    parallel = os.cpu_count() or 1
    found = {
        name: rows.map(step, num_parallel_calls=parallel, deterministic=True).batch(stream.batch_size).prefetch(2)
        for name, step in steps.items()
    }
    return {**found, FULL_PIPELINE: training_batches(stream, augmenter)}


def _first_value(image: tf.Tensor) -> tf.Tensor:
    return image[0, 0, 0]


def measure_stages(
    pipelines: dict[str, tf.data.Dataset], baseline: str, *, batch_size: int, batches: int, rounds: int
) -> dict[str, Speed]:
    """Returns the speed of each pipeline, interleaved, so that all are measured under the same conditions.

    Args:
      pipelines: their elements hold `batch_size` images each.
      baseline: name of the pipeline that the others are compared with.
      batch_size: images per batch.
      batches: per pipeline and round.
      rounds: number of rounds.
    """
    wall: dict[str, list[float]] = {name: [] for name in pipelines}
    processor: dict[str, list[float]] = {name: [] for name in pipelines}
    for number in range(rounds + 1):
        for name, dataset in pipelines.items():
            # A new iterator each time: an existing one would fill its buffers while the next pipeline is measured.
            iterator = iter(dataset)
            _take(iterator, _FILLED)
            began, used = time.perf_counter(), time.process_time()
            _take(iterator, batches)
            seconds = (time.perf_counter() - began, time.process_time() - used)
            del iterator
            if number:  # The first round is a warm-up.
                wall[name].append(seconds[0] / (batches * batch_size))
                processor[name].append(seconds[1] / (batches * batch_size))
    return {
        name: Speed(
            images_per_second=1 / statistics.median(wall[name]),
            cpu_ms=1000 * statistics.median(processor[name]),
            ratio=_ratio(wall[baseline], wall[name]),
            cpu_ratio=_ratio(processor[baseline], processor[name]),
        )
        for name in pipelines
    }


def records_skipped_per_second(stream: InputConfig) -> float:
    """Returns the speed of skipping to the millionth record of a stream, in records per second."""
    order = Sampler(index_records(stream.files), stream.seed, stream.weights)
    next(iter(endless_rows(order, position=0)))
    began = time.perf_counter()
    next(iter(endless_rows(order, position=_FAR)))
    return _FAR / (time.perf_counter() - began)


def _ratio(baseline: list[float], own: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(baseline, own, strict=True))


def _take(iterator: Iterator[object], count: int) -> None:
    for _ in range(count):
        next(iterator)


DECODE_BASELINE = "decoding alone"
BATCHES = 30
"""Batches per part and round."""


def measure_loader(options: BenchmarkOptions, shards: Shards, network: Network, folder: Path) -> dict[str, Any]:
    """Returns and prints the loader's speed, interleaved with decoding the same images alone."""
    config, training = network.config, options.training
    batch_size = training.optimizer.batch_size
    with open_input_config(training, shards, config.image_size, folder / "cache") as stream:
        augmenter = build_augmenter(training.augmentation, config)
        pipelines = {DECODE_BASELINE: decode_only(stream), **stages(stream, augmenter)}
        speeds = measure_stages(
            pipelines,
            DECODE_BASELINE,
            batch_size=batch_size,
            batches=BATCHES,
            rounds=options.num_rounds,
        )
        skipped = records_skipped_per_second(stream)
    cores = os.cpu_count() or 1
    whole, alone = speeds[FULL_PIPELINE], speeds[DECODE_BASELINE]
    height, width = config.image_size
    print(f"{config.name}, {width}x{height} pixels, batches of {batch_size}, {counted(shards.num_train, 'image')}:")
    print(
        f"  {whole.images_per_second:,.0f} images per second, {whole.images_per_second / cores:,.0f} per core "
        f"({counted(cores, 'core')})"
    )
    print(f"  {whole.ratio:.2f} of decoding alone ({alone.images_per_second:,.0f} per second)")
    print(f"  {whole.cpu_ratio:.2f} of it in CPU time, which other programs hardly affect")
    print(f"  {skipped:,.0f} records per second are skipped to resume a run")
    print("CPU time per image by stage, in milliseconds:")
    for name, cost in _costs(speeds).items():
        print(f"  {name:26}{cost:6.2f}  {cost / whole.cpu_ms:5.0%}")
    return {
        "speeds": {name: asdict(each) for name, each in speeds.items()},
        "cpu_ms": _costs(speeds),
        "records_skipped_per_second": skipped,
        "cores": cores,
    }


def _costs(speeds: dict[str, Speed]) -> dict[str, float]:
    """Returns the time that each stage adds to the one before, in milliseconds."""
    ways = [(name, each.cpu_ms) for name, each in speeds.items() if name != DECODE_BASELINE]
    added = {name: max(0.0, cost - before) for (_, before), (name, cost) in pairwise(ways)}
    return {ways[0][0]: ways[0][1], **added}
