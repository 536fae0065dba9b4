"""How a training photo is varied: the augmentations that the options ask for, as one function."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import tensorflow as tf
from efficientdet.config import DetectorConfig

from efficientdet_pipeline.augment import Sample, canvas_augmenter, normalize, num_partners
from efficientdet_pipeline.data.batches import Variation
from efficientdet_pipeline.data.records import Photo
from efficientdet_pipeline.options.augmentation import AugmentationOptions


def variation(options: AugmentationOptions, config: DetectorConfig, *, mixing_ends: int | None = None) -> Variation:
    """Returns how the options vary photos for a network.

    Args:
      options: of a run.
      config: canvas, mean and standard deviation are read.
      mixing_ends: running number of the first sample that is not mixed with others any more; None: never.
    """
    augment = canvas_augmenter(options, config.image_size, mixing_ends=mixing_ends)

    def draw(photo: Photo, partners: Sequence[Callable[[], Photo]], seed: tf.Tensor) -> Any:
        canvas = augment(Sample(*photo), [partial(_sample, read) for read in partners], seed)
        return canvas.image, canvas.valid_size, canvas.boxes, canvas.class_ids

    # Compiled, the chain from bytes to numbers is one pass over the batch, in a fifth of the time; the rule that XLA is
    # slow on CPUs is one about convolutions.
    @tf.function(jit_compile=True)
    def finish(canvases: tf.Tensor, shown: tf.Tensor) -> tf.Tensor:
        return normalize(canvases, shown, mean=config.mean_rgb, std=config.stddev_rgb, scale_range=config.scale_range)

    return Variation(draw, finish, num_partners(options))


def _sample(read: Callable[[], Photo]) -> Sample:
    return Sample(*read())
