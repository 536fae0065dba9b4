"""Ground truth of an evaluation, mapped to the detector's classes before any inference."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from absl import logging

from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.data.dataset_stats import read_shard_stats
from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.evaluation.joining import check_source_ids, join_classes, join_images, with_classes
from efficientdet_pipeline.evaluation.predictor_evaluation import stratified_subset
from efficientdet_pipeline.evaluation.truth import TruthImage, read_truth_file
from efficientdet_pipeline.models.build import Network
from efficientdet_pipeline.options.training import TrainOptions
from tfrmod import manifest


@dataclass(frozen=True, kw_only=True)
class GroundTruth:
    """Ground truth of shards."""

    files: tuple[str, ...]
    class_ids: Mapping[int, int] = field(default_factory=dict)
    """Class id in the shards → class id of the detector; other ids are unchanged."""
    images: Mapping[str, TruthImage] | None = None
    """By source id, if a COCO file replaces the ground truth of the shards."""
    is_measurable: bool = True
    """Whether there are any boxes."""
    numbers: tuple[int, ...] | None = None
    """Numbers of the evaluated records, ascending, counted over the files; None means all."""

    def truth_of(self, recorded: Sequence[TruthImage]) -> list[TruthImage]:
        """Returns the ground truth of images: from the COCO file if there is one, else from their records."""
        return list(recorded) if self.images is None else [self.images[image.source_id] for image in recorded]


@dataclass(frozen=True, kw_only=True)
class DetectorClasses:
    """The classes of a detector."""

    num_classes: int
    label_map: Mapping[int, str]
    other_names: Mapping[int, str] = field(default_factory=dict)
    """Class names in its training data, if they differ."""

    def join(self, names: Mapping[int, str], source: str) -> dict[int, int]:
        """Returns {class id in `source`: class id of the detector}; see `join_classes`."""
        return join_classes(
            names, self.label_map, num_classes=self.num_classes, source=source, other_names=self.other_names
        )


def ground_truth(
    files: Sequence[str | Path],
    classes: DetectorClasses,
    *,
    json_file: str = "",
    limit: int | None = None,
    made: manifest.Manifest | None = None,
) -> GroundTruth:
    """Returns the ground truth of an evaluation in the detector's classes.

    Args:
      files: the shards.
      json_file: COCO file that replaces the ground truth of the shards.
      limit: number of images to evaluate: a fixed subset that contains all classes, rare ones first.
      made: the manifest of a run's own shards, with which they need not be
        read here.

    Raises:
      DataError: classes or images cannot be joined, or images share an id.
      DatasetError: a shard is damaged.
    """
    paths = tuple(sorted(str(path) for path in files))
    source = str(Path(paths[0]).parent)
    numbers = _chosen_numbers(paths, limit)
    if made is not None and not json_file:
        split = made.splits["val"]
        names = {class_id: name for class_id, name in made.label_map.items() if split.boxes_per_class.get(name)}
        measurable = manifest.has_boxes_to_learn([Path(path) for path in paths])
        class_ids = classes.join(names, source)
        return GroundTruth(files=paths, class_ids=class_ids, is_measurable=measurable, numbers=numbers)
    counts = manifest.count_files([Path(path) for path in paths])
    if not counts.num_images:
        raise DataError(f"The shards in {source} must contain records. They contain none; check the pattern.")
    recorded = counts.images if numbers is None else [counts.images[number] for number in numbers]
    check_source_ids((image.source_id for image in recorded), source=source)
    names = {class_id: counts.recorded_names.get(class_id, "") for class_id in counts.label_map}
    if json_file:
        joined = _of_json(Path(json_file).expanduser(), paths, recorded, names, classes)
        return dataclasses.replace(joined, numbers=numbers)
    is_measurable = counts.num_boxes > counts.num_crowd
    class_ids = classes.join(names, source)
    return GroundTruth(files=paths, class_ids=class_ids, is_measurable=is_measurable, numbers=numbers)


def _chosen_numbers(paths: tuple[str, ...], limit: int | None) -> tuple[int, ...] | None:
    """Returns the numbers of `limit` records that contain all classes; None for all records."""
    if limit is None:
        return None
    stats = read_shard_stats(paths)
    ends = np.cumsum(stats.num_boxes)
    if limit >= len(ends):
        return None
    nothing = np.zeros((0, 4))
    images = [TruthImage("", nothing, class_ids) for class_ids in np.split(stats.class_ids, ends[:-1])]
    chosen = stratified_subset(images, limit)
    logging.info("Evaluating on a fixed subset of %d of %d images that contains all classes.", limit, len(ends))
    return tuple(chosen)


def _of_json(
    path: Path,
    paths: tuple[str, ...],
    recorded: Sequence[manifest.RecordedImage],
    names: Mapping[int, str],
    classes: DetectorClasses,
) -> GroundTruth:
    if not all(image.source_id for image in recorded):
        raise DataError(
            f"The records in {Path(paths[0]).parent} must each have an image/source_id to be joined with {path}. "
            "Some have none; leave --val_json_file out: the ground truth is then read from the shards."
        )
    truth = read_truth_file(path)
    joined = join_images(truth.images, recorded, source=str(path))
    used = sorted({int(class_id) for image in joined for class_id in image.class_ids})
    class_ids = classes.join({class_id: truth.class_names.get(class_id, "") for class_id in used}, str(path))
    try:
        shown = classes.join(names, "the shards")
    except DataError as error:
        logging.warning("The drawings show the boxes of the shards, perhaps with other class names: %s", error)
        shown = {}
    return GroundTruth(
        files=paths,
        class_ids=shown,
        images={image.source_id: with_classes(image, class_ids) for image in joined},
        is_measurable=any(not np.all(image.is_crowd) for image in joined if len(image.boxes)),
    )


def validation_truth(options: TrainOptions, network: Network, shards: Shards, *, is_chief: bool) -> GroundTruth | None:
    """Returns the ground truth for the evaluations of a training, checked before it starts; None without evaluation."""
    if options.general.mode != "traineval":
        return None
    if not is_chief:  # Only the chief evaluates.
        return GroundTruth(files=shards.val)
    classes = DetectorClasses(
        num_classes=network.config.num_classes, label_map=network.label_map, other_names=shards.recorded_names
    )
    json_file, limit = options.evaluation.val_json_file, options.evaluation.eval_samples
    truth = ground_truth(shards.val, classes, json_file=json_file, limit=limit, made=shards.made)
    if not truth.is_measurable:
        logging.warning(
            "The validation images contain no boxes, so AP is undefined: the last checkpoint is exported%s. "
            "Choose other validation images by --val_set, --train_valid_split or --val_file_pattern.",
            ", and --patience has no effect" if options.checkpointing.patience else "",
        )
    return truth
