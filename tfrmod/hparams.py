"""hparams_config.yaml: what the data decide about a network, and nothing that a user decides."""

from pathlib import Path
from typing import Any

import yaml

from tfrmod import atomic
from tfrmod.manifest import Manifest

FILE_NAME = "hparams_config.yaml"


def max_instances(fullest: int) -> int:
    """Returns how many objects an image may hold, with room to spare above the fullest.

    automl's own 100 where that suffices; its reader demands strictly more than
    there are.
    """
    return max(100, 50 * (fullest // 50 + 1))


def write_hparams_config(path: Path, manifest: Manifest) -> None:
    """Writes the file that --hparams takes, with the four keys that follow from the data."""
    content: dict[str, Any] = {
        "num_classes": manifest.num_classes,
        "label_map": dict(manifest.label_map),
        "max_instances_per_image": max_instances(manifest.max_instances_per_image),
    }
    if manifest.options.get("image_size"):
        content["image_size"] = manifest.options["image_size"]
    atomic.write_file(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
