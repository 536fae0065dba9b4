"""Augmentation pipeline built from options."""

from collections.abc import Callable, Sequence
from functools import partial

import tensorflow as tf

from efficientdet_pipeline.augment.auto_augment import autoaugment, randaugment
from efficientdet_pipeline.augment.color import hsv_jitter
from efficientdet_pipeline.augment.erase import PROBABILITY, grid_mask
from efficientdet_pipeline.augment.geometry import horizontal_flip
from efficientdet_pipeline.augment.mosaic_mixup import copy_paste, mixup, mosaic
from efficientdet_pipeline.augment.resize import crop_window, jitter_window, pad_to_canvas
from efficientdet_pipeline.augment.sample import Augmentation, Canvas, Sample, compose, random_apply
from efficientdet_pipeline.augment.transforms import named_steps
from efficientdet_pipeline.options.augmentation import AugmentationOptions
from efficientdet_pipeline.options.transforms import read_steps

Partner = Callable[[], Sample]
"""Reads another image; called inside the branch of the graph that uses it, so that unused images are not decoded."""
NUM_PARTNERS = 5
"""Number of partners of a sample: three for a mosaic, one each for mixup and copy-paste."""


def num_partners(options: AugmentationOptions) -> int:
    """Returns how many other images a sample may need."""
    return NUM_PARTNERS if options.augment and (options.mosaic or options.mixup or options.copy_paste) else 0


def mixer(
    options: AugmentationOptions, size: tuple[int, int], *, ends: int | None = None
) -> Callable[[Sample, Sequence[Partner], tf.Tensor], Sample]:
    """Returns a function that combines samples by copy-paste, mosaic and mixup, each with its own probability.

    Args:
      options: the probabilities.
      size: (height, width) of a mosaic.
      ends: number of the first sample that is not combined any more (the second
        number of the seed counts samples); None: never.
    """

    def mixed(sample: Sample, partners: Sequence[Partner], seed: tf.Tensor) -> Sample:
        quarters, behind, donor = partners[:3], partners[3], partners[4]
        changes: list[Augmentation] = [
            random_apply(lambda each, key: copy_paste(each, donor(), key), options.copy_paste),
            random_apply(
                lambda each, key: mosaic(
                    [each, *(read() for read in quarters)], key, size=size, min_visibility=options.min_visibility
                ),
                options.mosaic,
            ),
            random_apply(lambda each, key: mixup(each, behind(), key), options.mixup),
        ]
        return compose(changes)(sample, seed)

    def change(sample: Sample, partners: Sequence[Partner], seed: tf.Tensor) -> Sample:
        if not num_partners(options):
            return sample
        if ends is None:
            return mixed(sample, partners, seed)
        return tf.cond(seed[1] < ends, lambda: mixed(sample, partners, seed), lambda: sample)

    return change


def augmenter(options: AugmentationOptions) -> Augmentation:
    """Returns an augmentation of one sample at its own size: all except scale jitter and combinations of samples.

    AutoAugment needs uint8 images.
    """
    return compose([*_on_image(options), *_anywhere(options)] if options.augment else [])


def canvas_augmenter(
    options: AugmentationOptions,
    canvas_size: tuple[int, int],
    *,
    mixing_ends: int | None = None,
    keeps_proportions: bool = True,
) -> Callable[[Sample, Sequence[Partner], tf.Tensor], Canvas]:
    """Returns the complete augmentation of a training sample: combined, augmented, jittered, on the canvas.

    Changes that do not depend on the image size (flips, colours) are applied after
    the resize, where there are fewer pixels; the results look the same.

    Args:
      options: of the augmentation.
      canvas_size: (height, width) in pixels.
      mixing_ends: as for `mixer`.
      keeps_proportions: as for `jitter_window`.
    """
    mix = mixer(options, canvas_size, ends=mixing_ends)
    varied = [*_on_image(options), _jitter(options, canvas_size, keeps_proportions), *_anywhere(options)]
    change = compose(varied if options.augment else [_fitted(canvas_size, keeps_proportions)])

    def on_canvas(sample: Sample, partners: Sequence[Partner], seed: tf.Tensor) -> Canvas:
        # The mixer needs the sample's number, so it gets the seed itself and the rest a derived seed.
        own_seed = tf.random.fold_in(seed, 1)
        return pad_to_canvas(change(mix(sample, partners, seed), own_seed), canvas_size)

    return on_canvas


def _on_image(options: AugmentationOptions) -> list[Augmentation]:
    seen = options.min_visibility
    changes = named_steps(read_steps(options.augment_steps), min_visibility=seen)
    if options.grid_mask:
        changes.append(random_apply(grid_mask, PROBABILITY))
    if options.autoaugment_policy == "randaug":
        changes.append(randaugment(magnitude=options.randaug_magnitude, min_visibility=seen))
    elif options.autoaugment_policy:
        changes.append(autoaugment(options.autoaugment_policy, min_visibility=seen))
    return changes


def _anywhere(options: AugmentationOptions) -> list[Augmentation]:
    changes = [random_apply(horizontal_flip, 0.5)] if options.input_rand_hflip else []
    hue, saturation, value = options.hsv_hue, options.hsv_saturation, options.hsv_value
    if hue or saturation or value:
        changes.append(partial(hsv_jitter, hue=hue, saturation=saturation, value=value))
    return changes


def _jitter(options: AugmentationOptions, canvas_size: tuple[int, int], keeps_proportions: bool) -> Augmentation:
    def change(sample: Sample, seed: tf.Tensor) -> Sample:
        window = jitter_window(
            tf.shape(sample.image)[:2],
            seed,
            canvas_size=canvas_size,
            jitter_min=options.jitter_min,
            jitter_max=options.jitter_max,
            keeps_proportions=keeps_proportions,
        )
        return crop_window(sample, window, min_visibility=options.min_visibility)

    return change


def _fitted(canvas_size: tuple[int, int], keeps_proportions: bool) -> Augmentation:
    def change(sample: Sample, seed: tf.Tensor) -> Sample:
        source_size = tf.shape(sample.image)[:2]
        window = jitter_window(
            source_size,
            seed,
            canvas_size=canvas_size,
            jitter_min=1.0,
            jitter_max=1.0,
            keeps_proportions=keeps_proportions,
        )
        return crop_window(sample, window, min_visibility=0.0)

    return change
