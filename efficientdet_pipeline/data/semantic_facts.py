"""Properties of training shards with semantic maps."""

from collections.abc import Mapping, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np
from absl import logging

from efficientdet_pipeline.data.absent_classes import log_absent_classes
from efficientdet_pipeline.errors import DataError
from tfrmod.example import decode_example
from tfrmod.manifest import FILE_NAME, Manifest
from tfrmod.masks import IGNORED, png_array
from tfrmod.tfrecord_io import read_records

_MAPS_READ = 1000


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


def names_beside(files: Sequence[str]) -> dict[int, str]:
    """Returns the classes of the manifests beside shards: records with maps name none.

    Raises:
      DataError: no shard has a manifest, or one value has two names.
      DatasetError: a manifest cannot be read.
    """
    names: dict[int, str] = {}
    folders = sorted({Path(name).parent for name in files})
    for folder in folders:
        made = Manifest.load(folder).label_map if (folder / FILE_NAME).is_file() else {}
        for value, name in made.items():
            if names.setdefault(value, name) != name:
                raise DataError(
                    f"The value {value} is {names[value]!r} in some shards and {name!r} in those of {folder}. Convert "
                    "both datasets together, with one --label_map."
                )
    if not names:
        raise DataError(
            f"Segmentation needs the names of the classes. {folders[0]} has no {FILE_NAME}, in which the conversion "
            "writes them beside the shards; copy it there, or try --label_map=road,car with the names of the values "
            "from 1 on."
        )
    return names


def check_classes_present(
    train: Sequence[str], val: Sequence[str], label_map: Mapping[int, str], *, num_train: int
) -> None:
    """Warns of classes that no pixel of the training or validation maps has; does nothing for large sets.

    Args:
      train: the training shards.
      val: the validation shards, if any.
      label_map: value in the records, from 1 on → class.
      num_train: number of the training images; above 1,000 nothing is read.

    Raises:
      DataError: no pixel of the training maps has a class, or a value is beyond the classes.
    """
    if num_train > _MAPS_READ:
        return
    found, _ = _values(train)
    if not found & label_map.keys():
        raise DataError(
            "Segmentation needs pixels of a class in the training maps. Received maps of background and ignored pixels "
            "alone; check the values of the masks."
        )
    evaluated, is_whole = _values(val)
    if (largest := max(found | evaluated)) > max(label_map):
        raise DataError(
            f"Segmentation needs a class for each value of the maps. Received the value {largest}, and names of the "
            f"values up to {max(label_map)} ({label_map[max(label_map)]!r}); try --label_map with a name for each "
            "value from 1 on."
        )
    absent = [name for key, name in label_map.items() if key not in found]
    log_absent_classes("pixel of the training maps", absent, "the network cannot learn this")
    if not val or not is_whole:
        return
    absent = [name for key, name in label_map.items() if key in found - evaluated]
    effect = "mean IoU and Dice are without it, or 0 for it where the network predicts it"
    log_absent_classes("pixel of the validation maps", absent, effect)
    if 0 in evaluated and 0 not in found:
        logging.warning("The value 0 is in the validation maps alone: its pixels are not evaluated.")


def _values(files: Sequence[str]) -> tuple[set[int], bool]:
    """Returns the values of the maps, and whether these are all maps."""
    records = chain.from_iterable(read_records(Path(name)) for name in sorted(files))
    values: set[int] = set()
    for serialized in islice(records, _MAPS_READ):
        encoded = decode_example(serialized).segmentation
        values |= set(np.unique(png_array(encoded)).tolist()) if encoded else set()
    return values - {IGNORED}, next(records, None) is None
