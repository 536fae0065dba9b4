"""The network that pretrained weights of ours were trained in, compared with the one that takes them."""

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path

from absl import logging
from efficientdet.config import DetectorConfig

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.models.build import Network
from efficientdet_pipeline.models.description import read_description
from efficientdet_pipeline.models.weights import DESCRIPTION
from efficientdet_pipeline.options.hparams import hparam_text
from efficientdet_pipeline.options.label_map import read_label_map

# These may differ without making trained weights wrong, or a difference shows in the shapes of the weights.
_FREE = {"name", "image_size", "num_classes", "seg_num_classes", "heads", "nms_configs", "survival_prob", "data_format",
         "backbone_name", "backbone_config", "fpn_config"}  # fmt: skip


def warn_of_other_network(network: Network, weights: str) -> None:
    """Warns if a detector's weights were trained with other anchors, normalization or class ids than the network's.

    Such weights fit by their shapes, and begin with wrong detections. Weights without a readable
    description of their network, such as google/automl's, are not compared.

    Args:
      network: that takes the weights.
      weights: checkpoint, a file or a folder.
    """
    path = Path(weights).expanduser()
    place = (path if path.is_dir() else path.parent) / DESCRIPTION
    try:
        config, label_map = read_description(place)
        names = read_label_map(label_map, source=str(place)) or {}
    except (OSError, ValueError, OptionsError):
        return
    now = network.config
    if not isinstance(config, DetectorConfig) or not isinstance(now, DetectorConfig):
        return
    _compare_values(config, now, place)
    _compare_sizes(config, now)
    _compare_classes(names, network.label_map, place)


def _compare_values(before: DetectorConfig, now: DetectorConfig, place: Path) -> None:
    names = [field.name for field in dataclasses.fields(before) if field.name not in _FREE]
    changed = [name for name in names if getattr(before, name) != getattr(now, name)]
    if not changed:
        return
    hparams = [name for name in changed if name != "resize"]
    flags = [f"--hparams={shlex.quote(_written(before, hparams))}"] if hparams else []
    flags += [f"--resize={before.resize}"] if "resize" in changed else []
    logging.warning(
        "The initial weights were trained with %s (%s), and this network has %s, so that it begins with wrong "
        "detections. Unless that is intended, add %s.",
        _written(before, changed),
        place,
        _written(now, changed),
        " ".join(flags),
    )


def _compare_sizes(before: DetectorConfig, now: DetectorConfig) -> None:
    if before.image_size != now.image_size:
        own, other = ("x".join(map(str, reversed(config.image_size))) for config in (now, before))
        logging.info(
            "The initial weights were trained at %s px, and this network has %s; --image_size=%s keeps their size.",
            other,
            own,
            other,
        )


def _compare_classes(before: Mapping[int, str], now: Mapping[int, str], place: Path) -> None:
    ids = {name: number for number, name in before.items()}
    moved = [(name, ids[name], number) for number, name in now.items() if ids.get(name, number) != number]
    if moved:
        logging.warning(
            "The initial weights have other class ids (%s): %s. The class head begins with wrong classes; order the "
            "classes as there by --label_map=%s, unless that is intended.",
            place,
            ", ".join(f"{name} was {was} and is {number}" for name, was, number in moved[:5]),
            shlex.quote("{" + ", ".join(f"{number}: {name}" for number, name in before.items()) + "}"),
        )


def _written(config: DetectorConfig, names: list[str]) -> str:
    return ",".join(f"{name}={hparam_text(getattr(config, name))}" for name in names)
