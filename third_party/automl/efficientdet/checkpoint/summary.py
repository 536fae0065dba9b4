"""Summary of a checkpoint: its likely network, and whether it is a detector or only a backbone."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import h5py

from efficientdet.automl.identify import backbone_of, detectors_of, likely_models
from efficientdet.checkpoint.hdf5 import check_is_ours, datasets_of, read_origin
from efficientdet.checkpoint.locate import Found, find
from efficientdet.checkpoint.reader import Origin, Shape, reading
from efficientdet.checkpoint.tf_bundle import tensorflow_for

_HEADS = re.compile(r"(?:^|/)(?:class|box)_(?:net|head)/")
_LAST_LAYER = re.compile(r"/head/dense/kernel(?::0)?$")


@dataclass(frozen=True, kw_only=True)
class CheckpointSummary:
    """Summary from the names in a checkpoint; no value is read."""

    path: Path
    networks: tuple[str, ...]
    """automl's names of the detectors, or of the backbone, that match; empty if the names are not conclusive."""
    is_backbone: bool
    """Whether it has neither neck nor heads."""
    origin: Origin | None
    num_classes: int | None
    """Of an ImageNet classifier's last layer; None if there is none."""

    @property
    def backbones(self) -> tuple[str, ...]:
        """Returns the names of the backbones that it may contain."""
        return self.networks if self.is_backbone else tuple(dict.fromkeys(map(backbone_of, self.networks)))

    @property
    def detectors(self) -> tuple[str, ...]:
        """Returns the names of the detectors that can be initialized from it."""
        return tuple(detectors_of(self.networks)) if self.is_backbone else self.networks


def summarize_checkpoint(
    place: str | os.PathLike[str], cache_dir: str | os.PathLike[str] | None = None
) -> CheckpointSummary:
    """Returns the summary of a checkpoint; downloads and converts it if necessary.

    Args:
      place: location, as in `load_checkpoint`.
      cache_dir: as in `load_checkpoint`.

    Raises:
      CheckpointError: it is damaged, or cannot be downloaded.
      FileNotFoundError: the location does not exist.
    """
    found = find(place, cache_dir)
    shapes = _shapes(found)
    origin = None if found.is_bundle else read_origin(found.path)
    networks = (origin.backbone,) if origin else tuple(likely_models(shapes))
    return CheckpointSummary(
        path=found.path,
        networks=networks,
        is_backbone=not any(_HEADS.search(key) for key in shapes),
        origin=origin,
        num_classes=next((shape[-1] for key, shape in shapes.items() if _LAST_LAYER.search(key)), None),
    )


def _shapes(found: Found) -> dict[str, Shape]:
    if not found.is_bundle:
        with reading(found.path), h5py.File(found.path, "r") as file:
            shapes = {key: tuple(dataset.shape) for key, dataset in datasets_of(file, found.path).items()}
        check_is_ours(shapes, found.path)
        return shapes
    tf = tensorflow_for(found.path)
    with reading(found.path):
        try:
            return {key: tuple(shape) for key, shape in tf.train.list_variables(str(found.path))}
        except tf.errors.OpError as error:
            raise ValueError(error.message) from error
