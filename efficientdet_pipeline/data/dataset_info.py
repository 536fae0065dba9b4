"""Shards of a run: those that options name, or those converted from its images."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from absl import logging

from efficientdet_pipeline.errors import DataError, OptionsError
from efficientdet_pipeline.models.class_names import HPARAMS_SOURCE, check_class_ids, given_class_names
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.label_map import read_label_map
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.runs import metadata
from efficientdet_pipeline.runs.run_dir import RunFolder
from tfrmod import manifest
from tfrmod.counted import counted
from tfrmod.manifest import max_instances

NAMES_IN_SHARDS = "class_names_in_shards"
"""Field of metadata.json: names in the records of classes that were renamed."""


@dataclass(frozen=True, kw_only=True)
class Shards:
    """Properties of the data of a training."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    num_train: int
    num_classes: int
    """The largest label id."""
    label_map: dict[int, str]
    max_instances: int
    recorded_names: dict[int, str] = field(default_factory=dict)
    """Class names in the records, if a label map renames them."""
    made: manifest.Manifest | None = None
    """Manifest of shards that the run converted."""

    @cached_property
    def val_counts(self) -> manifest.ShardCounts:
        """Statistics of the validation shards, read once."""
        return manifest.count_files([Path(path) for path in self.val])


def shards_identity(options: TrainOptions) -> str:
    """Returns an identifier of the data of a run, as hex digits."""
    if not options.train_file_pattern:
        from efficientdet_pipeline.data import prepare  # The import loads all annotation formats.

        return prepare.data_identity(options.data.images, options.run.workspace)
    return _identity_of_files(manifest.shard_files(options.train_file_pattern, source="--train_file_pattern"))


def _identity_of_files(paths: Iterable[Path]) -> str:
    text = "\n".join(f"{path.name} {path.stat().st_size}" for path in paths)
    return hashlib.sha256(text.encode()).hexdigest()


def compare_validation(folder: RunFolder, shards: Shards, *, is_begun: bool) -> None:
    """Warns if a resumed run has other validation images than before, and records those it has."""
    if not shards.val:
        return
    now = _identity_of_files(map(Path, shards.val))
    if is_begun and metadata.read_json(folder.metadata).get("validation_shards", now) != now:
        logging.warning(
            "The validation shards differ from those of earlier epochs: AP and the best checkpoint are not "
            "comparable. Another --run_name starts a new run."
        )
    metadata.update_json(folder.metadata, {"validation_shards": now})


def find_shards(
    options: TrainOptions, folder: RunFolder, identity: str, image_size: int | str, hparams: HparamsGiven
) -> Shards:
    """Returns the training shards; converts the images if no option names shards."""
    if options.train_file_pattern:
        return _given_shards(options, hparams)
    images = options.data.images
    from efficientdet_pipeline.data import conversion  # Likewise.

    made = conversion.make_shards(
        options.data,
        folder.records_path,
        identity,
        seed=options.seed.tf_random_seed,
        label_map=hparams.label_map,
        image_size=image_size,
        task=options.model.task_name,
    )
    about = metadata.dataset_metadata(images, made, mode=options.general.mode)
    metadata.update_json(folder.metadata, about)
    train, val = made.splits["train"], made.splits.get("val")
    if not train.num_images:
        raise DataError(
            "The training split must contain images. It contains none of "
            f"{sum(s.num_images for s in made.splits.values())}; "
            "check --train_set and --train_valid_split."
        )
    train_files = [made.folder / shard.name for shard in train.files]
    if options.skip_crowd_during_training and train.num_boxes and not manifest.has_boxes_to_learn(train_files):
        _refuse_crowds(str(made.folder))
    val_files = val.files if val is not None and val.num_images else ()
    if options.general.mode == "traineval" and not val_files:
        raise OptionsError(
            "traineval needs validation images. The split left none "
            f"(train_valid_split={images.train_valid_split}, test_split={images.test_split}); "
            "try a smaller --train_valid_split, --val_set, or --mode=train."
        )
    return Shards(
        train=tuple(map(str, train_files)),
        val=tuple(str(made.folder / shard.name) for shard in val_files),
        num_train=train.num_images,
        num_classes=made.num_classes,
        label_map=made.label_map,
        max_instances=options.max_instances_per_image or max(1, made.max_instances_per_image),
        made=made,
    )


def _given_shards(options: TrainOptions, hparams: HparamsGiven) -> Shards:
    logging.info("Counting the records of %s.", options.train_file_pattern)
    train = _counts(options.train_file_pattern)
    pattern = options.evaluation.val_file_pattern
    val = manifest.shard_files(pattern, source="--val_file_pattern") if pattern else ()
    if options.skip_crowd_during_training and train.num_boxes == train.num_crowd > 0:
        _refuse_crowds(options.train_file_pattern)
    label_map = _given_names(options, hparams, train)
    boxes = ", ".join(f"{name} {count:,}" for name, count in train.boxes_per_class.items())
    images, count = counted(train.num_images, "image"), counted(train.num_boxes, "box")
    logging.info("train %s, %s (%s)", images, count, boxes or "none")
    return Shards(
        train=tuple(str(path) for path in train.files),
        val=tuple(str(path) for path in val),
        num_train=train.num_images,
        num_classes=max(train.num_classes, max(label_map, default=1)),
        label_map=label_map,
        max_instances=options.max_instances_per_image or max_instances(train.max_instances_per_image),
        recorded_names={} if label_map == train.label_map else train.recorded_names,
    )


def _given_names(options: TrainOptions, hparams: HparamsGiven, train: manifest.ShardCounts) -> dict[int, str]:
    """Returns the class names of given shards: from an option, else from the records.

    Raises:
      OptionsError: a class of the records has another id in the option.
    """
    given, source = read_label_map(options.data.images.label_map, source="--label_map"), "--label_map"
    if not given:
        given, source = given_class_names(hparams), HPARAMS_SOURCE
    check_class_ids(given, train.recorded_names, source=source, described_by=options.train_file_pattern)
    return dict(sorted({**train.label_map, **given}.items()))


def _refuse_crowds(place: str) -> None:
    raise DataError(
        f"Training needs boxes of single objects. All boxes of {place} mark a crowd (is_crowd), which training "
        "skips. Correct the annotations, or train on crowds with --skip_crowd_during_training=false."
    )


def _counts(pattern: str) -> manifest.ShardCounts:
    counts = manifest.count_shards(pattern)
    if not counts.num_images:
        raise DataError(f"The shards {pattern} must contain records. They contain none; check --train_file_pattern.")
    return counts
