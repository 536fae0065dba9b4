"""Properties of training shards with semantic maps."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from efficientdet_pipeline.errors import DataError
from tfrmod.example import decode_example
from tfrmod.masks import png_array
from tfrmod.tfrecord_io import read_records


def uses_background(files: Sequence[str]) -> bool:
    """Returns whether value 0, the background, occurs in the semantic maps of the shards.

    In ADE20K and Cityscapes it does not: every pixel that is not ignored has a class.

    Raises:
      DataError: there is no record with a map.
    """
    is_empty = True
    for name in sorted(files):
        for serialized in read_records(Path(name)):
            encoded = decode_example(serialized).segmentation
            if encoded:
                is_empty = False
                if not np.all(png_array(encoded)):
                    return True
    if is_empty:
        raise DataError(
            "Segmentation needs records with semantic maps. The training shards have none; convert the "
            "dataset with --task=segmentation."
        )
    return False
