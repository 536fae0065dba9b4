"""--mode=benchmark --what=loader: photos a second out of the shards, and where the time goes."""

import os
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from efficientdet_pipeline.commands.loading import training_stream
from efficientdet_pipeline.commands.network import Network
from efficientdet_pipeline.commands.shards import Shards
from efficientdet_pipeline.commands.variation import variation
from efficientdet_pipeline.data import speed

YARDSTICK = "decoding alone"
BATCHES = 30
"""Of each part and round."""


def measure(options: Any, shards: Shards, network: Network, folder: Path) -> dict[str, Any]:
    """Returns and prints how fast batches come, in turns with the decoding of the same photos alone."""
    config = network.config
    with training_stream(options, shards, config.image_size, folder / "cache") as stream:
        pipelines = {YARDSTICK: speed.decode_only(stream), **speed.stages(stream, variation(options, config))}
        speeds = speed.measure(
            pipelines, YARDSTICK, batch_size=options.batch_size, batches=BATCHES, rounds=options.rounds
        )
        skipped = speed.records_skipped_per_second(stream)
    cores = os.cpu_count() or 1
    whole, alone = speeds[speed.WHOLE], speeds[YARDSTICK]
    height, width = config.image_size
    print(f"{config.name}, {width}x{height} pixels, batches of {options.batch_size}, {shards.num_train} photos:")
    print(f"  {whole.images_per_second:,.0f} photos a second, {whole.images_per_second / cores:,.0f} a core of {cores}")
    print(f"  {whole.ratio:.2f} of decoding alone ({alone.images_per_second:,.0f} a second)")
    print(f"  {whole.cpu_ratio:.2f} of it by processor time, which other programs do not change")
    print(f"  {skipped:,.0f} records a second are skipped to continue a run")
    print("Where the time goes, in milliseconds of processor time a photo:")
    for name, cost in _costs(speeds).items():
        print(f"  {name:26}{cost:6.2f}  {cost / whole.cpu_ms:5.0%}")
    return {
        "speeds": {name: asdict(each) for name, each in speeds.items()},
        "cpu_ms": _costs(speeds),
        "records_skipped_per_second": skipped,
        "cores": cores,
    }


def _costs(speeds: dict[str, speed.Speed]) -> dict[str, float]:
    """Returns what each stage adds to the one before, in milliseconds."""
    ways = [(name, each.cpu_ms) for name, each in speeds.items() if name != YARDSTICK]
    added = {name: max(0.0, cost - before) for (_, before), (name, cost) in pairwise(ways)}
    return {ways[0][0]: ways[0][1], **added}
