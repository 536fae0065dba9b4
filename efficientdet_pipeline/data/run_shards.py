"""Shards of a trained run, and images read from shards."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from efficientdet_pipeline.data.tfrecord_reader import RecordReader, decode_record_image, index_records, parse_record
from efficientdet_pipeline.json_fields import text_field
from efficientdet_pipeline.runs import metadata
from efficientdet_pipeline.runs.run_dir import RunFolder
from tfrmod import manifest


def run_shards(run: RunFolder, split: str) -> tuple[Sequence[Path], manifest.Manifest | None]:
    """Returns the shards of one split that a run converted, with their manifest, or those that it was given.

    Args:
      split: train or val.

    Returns:
      No files if the run has none.
    """
    used = metadata.read_args(run.args)
    places = [run.manifest, Path(text_field(used, "output_path") or run.records_path) / manifest.FILE_NAME]
    for place in places:
        if not place.exists():
            continue
        made = manifest.Manifest.load(place)
        if split in made.splits and made.splits[split].num_images:
            return [made.folder / shard.name for shard in made.splits[split].files], made
    pattern = text_field(used, f"{split}_file_pattern")
    return (manifest.shard_files(pattern, source=f"{split}_file_pattern of {run.path}") if pattern else ()), None


def spread_images(files: Sequence[str | Path], count: int) -> list[np.ndarray]:
    """Returns about `count` images, evenly spaced over all records: uint8 RGB (h, w, 3).

    Raises:
      DataError: a shard is damaged.
    """
    index = index_records(sorted(map(str, files)))
    read = RecordReader(index)
    numbers = np.unique(np.linspace(0, len(index) - 1, min(count, len(index))).round().astype(np.int64))
    records = (parse_record(read(tf.constant(number))) for number in numbers)
    return [decode_record_image(record.encoded, record.file_name).numpy() for record in records]
