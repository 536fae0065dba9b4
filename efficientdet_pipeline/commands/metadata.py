"""What metadata.json says of a run; the fields' names are those that users' scripts know."""

from datetime import datetime
from typing import Any

from tfrmod.manifest import Manifest
from tfrmod.urls import redact_url


def of_data(options: Any, made: Manifest) -> dict[str, Any]:
    """Returns the fields on the photos and shards."""
    split = options.train_valid_split
    counts = {name: split.num_images for name, split in made.splits.items()}
    return {
        "url": redact_url(options.url_dataset or options.data_dir),
        "label_map": made.label_map,
        "number_of_images": {"total": sum(counts.values()), "train": 0, "val": 0, "test": 0, **counts},
        "train_valid_split": options.train_valid_split,
        "valid_test_split": round(options.test_split / (1.0 - split), 6) if split < 1.0 else 0.0,
        "number_of_shards": {name: len(split.files) for name, split in made.splits.items()},
        "number_images_per_shard": {
            name: max((shard.num_images for shard in split.files), default=0) for name, split in made.splits.items()
        },
        "date": datetime.now().strftime("%d/%m/%Y %H:%M:%S"),
        "mode": options.mode,
    }


def of_training(options: Any, *, name: str, num_examples: int, shape: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields on the training; `shape` tells one run from another."""
    return {
        "url": redact_url(options.url_dataset or options.data_dir or options.train_file_pattern),
        "backbone_reference": options.backbone_ref or name,
        "model_name": name,
        "epochs": options.num_epochs,
        "train_batch_size": options.batch_size,
        "num_examples_per_epoch": num_examples,
        "autoaugment_policy": options.autoaugment_policy,
        "date": datetime.now().strftime("%d/%m/%Y %H:%M:%S"),
        "mode": options.mode,
        "shaping": shape,
    }
