"""Sample records as network inputs, with the options of a run, as in training or in evaluation."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from efficientdet.any_detector import AnyDetectorConfig
from efficientdet.preprocess import fit_to_canvas, per_corner

from efficientdet_pipeline.augment.sample import Sample
from efficientdet_pipeline.data.input_pipeline import Augmenter
from efficientdet_pipeline.data.tfrecord_reader import (
    boxes_in_pixels,
    decode_record_image,
    parse_record,
    without_crowd,
)
from efficientdet_pipeline.inspection.shard_reader import RecordLocation, annotated_image, serialized_record
from efficientdet_pipeline.options.augmentation import AugmentationOptions
from efficientdet_pipeline.options.schema import flatten, replace
from efficientdet_pipeline.visualize.annotated_figure import AnnotatedFigure, record_figure, sample_figure


def augmentation(options: AugmentationOptions, used: Mapping[str, Any], given: Collection[str]) -> AugmentationOptions:
    """Returns the augmentation options: those of the run, except for options given explicitly.

    Args:
      options: those of the mode.
      used: the options of the run; empty without a run.
      given: names of the options given explicitly. A recipe or an options
        file sets all options, so that nothing of the run is kept.
    """
    kept = {} if {"augment_recipe", "augment_config"} & set(given) else used
    taken = {name: kept[name] for name in flatten(options) if name in kept and name not in given}
    return replace(options, **taken)


def samples(
    locations: Sequence[RecordLocation],
    count: int,
    config: AnyDetectorConfig,
    augmenter: Augmenter | None,
    *,
    seed: int,
    skip_crowd: bool,
) -> Iterator[tuple[AnnotatedFigure, AnnotatedFigure]]:
    """Yields each record as stored, and as the network's input.

    Records are evenly spaced over all shards, because neighbours in a shard may
    be alike.

    Args:
      locations: of all records; training draws the partners of mosaic and mixup
        from a stream, here they are the records that follow.
      count: maximum number of samples.
      config: of the network.
      augmenter: the augmentation of training; None for evaluation.
      seed: of the augmentation.
      skip_crowd: whether training leaves out crowd boxes.
    """
    count = min(count, len(locations))
    for number in range(count):
        row = number * len(locations) // count
        image = annotated_image(serialized_record(locations[row]))
        record = record_figure(image, decode_record_image(image.encoded, image.filename).numpy())
        sample = _read_sample(locations[row], skip_crowd)
        if augmenter is None:
            canvas, scale = fit_to_canvas(sample.image, config)
            boxes, class_ids = sample.boxes / per_corner(scale), sample.class_ids
        else:
            behind = [locations[(row + step) % len(locations)] for step in range(1, augmenter.num_partners + 1)]
            partners = [partial(_read_sample, location, skip_crowd) for location in behind]
            drawn, visible, boxes, class_ids = augmenter.draw(sample, partners, tf.constant([seed, number], tf.int64))
            canvas = augmenter.finish(drawn[None], visible[None])[0]
        yield record, sample_figure(visible_pixels(canvas, config), boxes.numpy(), class_ids.numpy(), record)


def visible_pixels(canvas: tf.Tensor, config: AnyDetectorConfig) -> np.ndarray:
    """Returns a normalised canvas (H, W, 3) as RGB pixels, uint8."""
    values = np.asarray(canvas)
    if config.scale_range:
        values = (values + 1.0) * (255.0 / 2.0)
    values = values * np.asarray(config.stddev_rgb) + np.asarray(config.mean_rgb)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _read_sample(location: RecordLocation, skip_crowd: bool) -> Sample:
    record = parse_record(serialized_record(location))
    if skip_crowd:
        record = without_crowd(record)
    image = decode_record_image(record.encoded, record.file_name)
    return Sample(image, boxes_in_pixels(record, image), record.class_ids)
