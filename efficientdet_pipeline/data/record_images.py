"""Images of shards by the source id of their records, read lazily."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from efficientdet_pipeline.data.tfrecord_reader import RecordIndex, index_records, read_record
from efficientdet_pipeline.errors import DataError
from tfrmod.errors import DatasetError
from tfrmod.example import decode_example
from tfrmod.image_file import decode_image


class RecordImages:
    """Pixels of the images of an evaluation.

    Args:
      files: the shards; their records are numbered in the order of the sorted names.
      numbers: source id to record number.
    """

    def __init__(self, files: Sequence[str], numbers: Mapping[str, int]):
        self.files = tuple(sorted(files))
        self.numbers = numbers
        self._index: RecordIndex | None = None

    @property
    def are_there(self) -> bool:
        """Returns whether the shards still exist."""
        return bool(self.files) and all(Path(file).is_file() for file in self.files)

    def __call__(self, source_id: str) -> np.ndarray | None:
        """Returns the image, uint8 RGB (h, w, 3); None if it is no longer in the shards."""
        number = self.numbers.get(source_id)
        if number is None or not self.are_there:
            return None
        try:
            if self._index is None:
                self._index = index_records(self.files)
            if number >= len(self._index):
                return None
            image = decode_example(read_record(self._index, number))
            if image.source_id and image.source_id != source_id:
                return None
            return decode_image(image.encoded)
        except (DataError, DatasetError, OSError):
            return None
