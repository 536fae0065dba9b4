"""From options to the augmentations they ask for."""

from collections.abc import Callable
from functools import partial

import tensorflow as tf

from efficientdet_pipeline.augment.automatic import autoaugment, randaugment
from efficientdet_pipeline.augment.canvas import jitter_window, pad_to_canvas, show_window
from efficientdet_pipeline.augment.flip import mirror
from efficientdet_pipeline.augment.grid import PROBABILITY, grid_mask
from efficientdet_pipeline.augment.hsv import hsv_jitter
from efficientdet_pipeline.augment.options import AugmentOptions
from efficientdet_pipeline.augment.sample import Augmentation, Canvas, Sample, by_chance, in_turn


def augmenter(options: AugmentOptions) -> Augmentation:
    """Returns an augmentation of samples at their own size: all but the scale jitter.

    AutoAugment wants uint8 images.
    """
    return in_turn([*_on_photo(options), *_anywhere(options)])


def canvas_augmenter(options: AugmentOptions, canvas_size: tuple[int, int]) -> Callable[[Sample, tf.Tensor], Canvas]:
    """Returns the whole way of a training sample: augmented, jittered, on the canvas.

    What a picture of any size bears alike (mirroring, colours) is done after the
    resize, where there are fewer pixels; the eye sees no difference.

    Args:
      options: what happens.
      canvas_size: (height, width) in pixels.
    """
    change = in_turn([*_on_photo(options), _jitter(options, canvas_size), *_anywhere(options)])
    return lambda sample, seed: pad_to_canvas(change(sample, seed), canvas_size)


def _on_photo(options: AugmentOptions) -> list[Augmentation]:
    changes = [by_chance(grid_mask, PROBABILITY)] if options.grid_mask else []
    if options.autoaugment_policy == "randaug":
        changes.append(randaugment(magnitude=options.randaug_magnitude, min_visibility=options.min_visibility))
    elif options.autoaugment_policy:
        changes.append(autoaugment(options.autoaugment_policy, min_visibility=options.min_visibility))
    return changes


def _anywhere(options: AugmentOptions) -> list[Augmentation]:
    changes = [by_chance(mirror, 0.5)] if options.input_rand_hflip else []
    hue, saturation, value = options.hsv_hue, options.hsv_saturation, options.hsv_value
    if hue or saturation or value:
        changes.append(partial(hsv_jitter, hue=hue, saturation=saturation, value=value))
    return changes


def _jitter(options: AugmentOptions, canvas_size: tuple[int, int]) -> Augmentation:
    def change(sample: Sample, seed: tf.Tensor) -> Sample:
        window = jitter_window(
            tf.shape(sample.image)[:2],
            seed,
            canvas_size=canvas_size,
            jitter_min=options.jitter_min,
            jitter_max=options.jitter_max,
        )
        return show_window(sample, window, min_visibility=options.min_visibility)

    return change
