"""What a training reads of its shards: which records how often, how many boxes, decoded anew or kept."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from efficientdet_pipeline.commands.shards import Shards
from efficientdet_pipeline.data import cache
from efficientdet_pipeline.data.batches import TrainingStream
from efficientdet_pipeline.data.contents import Contents, balance_weights, boxes_beyond, read_contents
from efficientdet_pipeline.errors import OptionsError

MIXED_BOXES = 2
"""A picture mixed of several photos may have so many times the boxes of the fullest photo; more are rare."""


@contextmanager
def training_stream(
    options: Any, shards: Shards, canvas: tuple[int, int], cache_folder: Path
) -> Iterator[TrainingStream]:
    """Yields what the options make of the training shards; what is kept on disk is deleted at the end.

    Args:
      options: of the training.
      shards: their paths and the most boxes of a photo.
      canvas: height and width of the network's.
      cache_folder: where decoded photos go.
    """
    _warn_without_effect(options)
    contents = read_contents(shards.train) if _needs_contents(options) else None
    if contents is not None and options.max_instances_per_image:
        _tell_cut_boxes(contents, options.max_instances_per_image)
    mixed = options.augment and (options.mosaic or options.mixup or options.copy_paste)
    try:
        yield TrainingStream(
            files=shards.train,
            batch_size=options.batch_size,
            max_instances=shards.max_instances * (MIXED_BOXES if mixed else 1),
            canvas=canvas,
            seed=options.tf_random_seed,
            skip_crowd=options.skip_crowd_during_training,
            repeat_first_batch=options.use_fake_data,
            weights=_weights(options, contents),
            cache=_cached(options.cache, shards.train, contents, cache_folder) if contents is not None else None,
        )
    finally:
        if options.cache == "disk":
            shutil.rmtree(cache_folder, ignore_errors=True)


def mixing_ends(options: Any, *, num_epochs: int, samples_per_epoch: int) -> int | None:
    """Returns the number of the first sample that is not mixed with others any more; None: all may be."""
    return max(0, num_epochs - options.close_mosaic) * samples_per_epoch if options.close_mosaic else None


def _needs_contents(options: Any) -> bool:
    return bool(options.class_balance or options.cache != "none" or options.max_instances_per_image)


def _weights(options: Any, contents: Contents | None) -> np.ndarray | None:
    if contents is None or not options.class_balance:
        return None
    weights = balance_weights(contents, options.class_balance)
    logging.info(
        "class_balance=%g: the rarest photos are shown %.1f times an epoch, the commonest %.2f times.",
        options.class_balance,
        weights.max(),
        weights.min(),
    )
    return weights


def _tell_cut_boxes(contents: Contents, most: int) -> None:
    num_boxes, num_photos = boxes_beyond(contents, most)
    if num_boxes:
        logging.warning(
            "max_instances_per_image is %d and the fullest photo has %d boxes: the smallest %d boxes of %d photos are "
            "left out of the training.",
            most,
            contents.num_boxes.max(),
            num_boxes,
            num_photos,
        )


def _cached(
    kind: str, files: tuple[str, ...], contents: Contents, folder: Path
) -> Callable[[tf.Tensor], tf.Tensor] | None:
    if kind == "none":
        return None
    if not contents.sizes.all():
        raise OptionsError(
            "cache needs records that say how large their photos are (image/height, image/width). "
            f"Received cache={kind} with {files[0]}, which does not; leave it out.",
            option="cache",
        )
    needed, free = cache.num_bytes(contents.sizes), cache.free_bytes(kind, folder)
    if needed > free:
        other = "--cache=disk, or " if kind == "memory" else ""
        raise OptionsError(
            f"cache={kind} needs {needed / 1e9:.1f} GB for the decoded photos. Received {free / 1e9:.1f} GB of free "
            f"{'memory' if kind == 'memory' else f'space at {folder}'}; try {other}--cache=none.",
            option="cache",
        )
    logging.info("Decoding %d photos once, %.2f GB, kept %s.", len(contents.sizes), needed / 1e9, _PLACES[kind])
    if kind == "memory":
        return cache.cache_in_memory(files, contents.sizes)
    return cache.cache_on_disk(files, contents.sizes, folder)


_PLACES = {"memory": "in memory", "disk": "on disk"}


def _warn_without_effect(options: Any) -> None:
    named = [options.backbone_ckpt, options.hub_module_url, options.pretrained_ckpt != "none"]
    if options.augment and options.augment_recipe == "small-data" and not any(named):
        logging.warning(
            "augment_recipe=small-data mixes images, which from random weights needs more steps than a few hundred "
            "images give: AP .208 where the default recipe gave .390 (docs/scratch-recipe.md); "
            "try --augment_recipe=default."
        )
    mixing = [name for name in ("mosaic", "mixup", "copy_paste") if getattr(options, name)]
    if not options.augment and (mixing or options.autoaugment_policy or options.grid_mask or options.augment_steps):
        logging.warning("--noaugment is given: photos are not varied, whatever other options of augmentation say.")
    if options.close_mosaic and not mixing:
        logging.warning("close_mosaic has no effect without mosaic, mixup or copy_paste.")
    elif mixing and options.close_mosaic >= options.num_epochs:
        logging.warning(
            "close_mosaic=%d is not below num_epochs=%d: %s never happen.",
            options.close_mosaic,
            options.num_epochs,
            ", ".join(mixing),
        )
    if options.randaug_magnitude != 10.0 and options.autoaugment_policy != "randaug":
        logging.warning("randaug_magnitude has no effect without --autoaugment_policy=randaug.")
