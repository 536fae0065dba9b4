"""Shards of an evaluation: named ones, those of a converted data set, or the run's own."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from absl import logging

from efficientdet_pipeline.data.run_shards import run_shards
from efficientdet_pipeline.errors import DataError, OptionsError
from efficientdet_pipeline.options.dataset import DatasetOptions
from efficientdet_pipeline.options.evaluation import EvalOptions
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.runs.run_dir import RunFolder
from efficientdet_pipeline.system import cache_folder
from tfrmod import manifest
from tfrmod.counted import counted
from tfrmod.urls import redact_url


class EvaluationShards(NamedTuple):
    """Shards with the evaluated images."""

    files: Sequence[Path]
    made: manifest.Manifest | None
    """Manifest of a run's own shards, which makes counting records unnecessary."""
    about: str
    """Description of the shards."""
    are_own: bool = False
    """Whether they are the run's validation images."""


def evaluation_shards(
    options: EvalOptions, run: RunFolder | None, place: Path, *, task: str = "detection"
) -> EvaluationShards:
    """Returns the shards that the options name, or the validation shards of the run.

    Args:
      options: of the mode.
      run: the run of the detector, if any.
      place: path of the detector, for the message.
      task: that the images are annotated for.

    Raises:
      OptionsError: no shards are named, and there is no run with shards.
      DatasetError: the data set cannot be used.
    """
    if options.evaluation.val_file_pattern:
        pattern = options.evaluation.val_file_pattern
        return EvaluationShards(manifest.shard_files(pattern, source="--val_file_pattern"), None, pattern)
    if options.subject.val_dataset:
        return _converted(options, task)
    looked_at = f"{place} is not in the folder of a run"
    if run is not None:
        files, made = run_shards(run, "val")
        if files:
            return EvaluationShards(files, made, "its validation images", True)
        looked_at = f"the run {run.path} has no validation shards (checked {run.manifest} and its args.yaml)"
    raise OptionsError(
        f"val_file_pattern must name the shards to evaluate. Received nothing, and {looked_at}; try "
        "--val_file_pattern='shards/val-*', --val_dataset=images.zip, or name a run that was trained on images by "
        "--model_dir.",
        option="val_file_pattern",
    )


def _converted(options: EvalOptions, task: str) -> EvaluationShards:
    """Returns the shards of a data set; they are converted once and cached."""
    # The import loads all annotation formats, which shards do not need.
    from efficientdet_pipeline.data.conversion import make_shards
    from efficientdet_pipeline.data.prepare import data_identity

    given = options.subject
    data = compose(
        DatasetOptions,
        url_dataset=given.val_dataset,
        val_set=given.val_set,
        source_format=given.source_format,
        label_aliases=given.label_aliases,
        cache_dir=given.cache_dir,
        # A data set without splits is evaluated completely.
        train_valid_split=1.0,
    )
    identity = data_identity(data.images, options.run.workspace)
    of_task = "" if task == "detection" else task
    kind = "-".join(filter(None, (of_task, given.source_format, given.val_set.replace("/", "_"))))
    folder = cache_folder(given.cache_dir) / "evaluations" / "-".join(filter(None, (identity[:16], kind)))
    made = make_shards(data, folder, identity, seed=0, task=task)
    has_own = {name for name in ("train", "val", "test") if name in made.splits and made.splits[name].num_images}
    if not has_own:
        raise DataError(f"{redact_url(given.val_dataset)} must contain images. It contains none.")
    name = next(name for name in ("val", "test", "train") if name in has_own)
    split = made.splits[name]
    which = "all" if has_own == {"train"} else f"the {name} split with"
    about = f"{which} {counted(split.num_images, 'image')} of {redact_url(given.val_dataset)}"
    logging.info("Evaluating on %s.", about)
    return EvaluationShards([made.folder / shard.name for shard in split.files], None, about)
