"""Construction of a detector from a config: a dict or a YAML file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from efficientdet.detectors.config import read_parts
from efficientdet.detectors.detector import OneStageDetector


def build_detector(config: Mapping[str, Any] | str | os.PathLike[str]) -> OneStageDetector:
    """Returns the detector of a config, with all weights created.

    Args:
      config: a dict, or the path of a YAML file of the same content, with

        * backbone: `name` (`detectors.config.list_backbones` lists them) and the
          fields of its dataclass, for example `nb_blocks` of a resnetv2;
        * neck: `name` (`list_necks`) and fields;
        * head: `name` (`detectors.config.HEADS`) and fields;
        * image_size: a side or [height, width]; without it the backbone's
          `input_size`;
        * weight_decay (4e-5) and class_names.

        It is not modified.

    Raises:
      ValueError: an unknown name or key (the message names the nearest one), an
        invalid value, or parts whose levels do not match.
      FileNotFoundError: the YAML file does not exist.
      CheckpointError: weights named by the config belong to another network.

    >>> detector = build_detector({
    ...     "image_size": 256, "backbone": {"name": "efficientnet-b0"}, "neck": {"name": "bifpn"},
    ...     "head": {"name": "anchor_free", "num_classes": 3},
    ... })
    >>> detector.compile("adam")
    """
    if not isinstance(config, Mapping):
        from efficientdet.hparams_yaml import read_hparams_yaml

        config = read_hparams_yaml(Path(config))
    return OneStageDetector(read_parts(config), name="detector")
