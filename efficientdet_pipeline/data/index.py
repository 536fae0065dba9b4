"""Where each record lies, so that any of them can be read at once, by its number."""

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from efficientdet_pipeline.errors import DataError

_LENGTH = struct.Struct("<Q")
# The length's checksum before the data, the data's behind it.
_AROUND = _LENGTH.size + 4 + 4


@dataclass(frozen=True, eq=False)
class RecordIndex:
    """The place of every record of some shards; records are numbered file after file."""

    files: tuple[str, ...]
    shards: np.ndarray
    """(n,) number of the file."""
    offsets: np.ndarray
    """(n,) bytes before the record."""
    sizes: np.ndarray
    """(n,) bytes of the record, checksums included."""

    def __len__(self) -> int:
        """Returns the number of records."""
        return len(self.offsets)


def index_records(files: Sequence[str]) -> RecordIndex:
    """Returns where the records of the files lie; only their lengths are read.

    Raises:
      DataError: a file ends within a record.
    """
    places = [place for number, name in enumerate(files) for place in _places(number, name)]
    shards, offsets, sizes = np.array(places, np.int64).reshape(-1, 3).T
    return RecordIndex(tuple(files), shards, offsets, sizes)


def _places(number: int, name: str) -> list[tuple[int, int, int]]:
    places: list[tuple[int, int, int]] = []
    offset = 0
    with open(name, "rb", buffering=0) as file:
        end = os.fstat(file.fileno()).st_size
        while offset < end:
            file.seek(offset)
            header = file.read(_LENGTH.size)
            size = _LENGTH.unpack(header)[0] + _AROUND if len(header) == _LENGTH.size else end + 1
            if offset + size > end:
                if not places and header[:2] == b"\x1f\x8b":
                    raise DataError(
                        f"{name} must be a TFRecord file without compression. It is compressed with gzip; unpack it by "
                        f"`gunzip -c {name} > {name}.unpacked`."
                    )
                raise DataError(
                    f"{name} must be a whole TFRecord file. Record {len(places)} (counted from 0, at byte {offset}) "
                    f"ends beyond its {end} bytes; make the shards again, or copy them again from where they came."
                )
            places.append((number, offset, size))
            offset += size
    return places


class RecordReader:
    """Reads single records inside a graph: number, a scalar int64 tensor, → serialized record."""

    def __init__(self, index: RecordIndex):
        self._files = tf.constant(index.files)
        self._places = tf.constant(np.stack([index.shards, index.offsets, index.sizes], axis=1))

    def __call__(self, number: tf.Tensor) -> tf.Tensor:
        """Returns the record; its checksums are verified."""
        shard, offset, size = tf.unstack(self._places[number])
        # The public class begins every file at its first byte; the operation under it begins where it is told to.
        from_here = tf.raw_ops.TFRecordDatasetV2(
            filenames=self._files[shard][None], compression_type="", buffer_size=size, byte_offsets=offset[None]
        )
        kind: dict = {"output_types": [tf.string], "output_shapes": [()]}
        first = tf.raw_ops.TakeDataset(input_dataset=from_here, count=1, **kind)
        return tf.raw_ops.DatasetToSingleElement(dataset=first, **kind)[0]
