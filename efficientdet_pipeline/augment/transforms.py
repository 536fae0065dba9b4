"""Named steps of tfdet's pipelines: crops and resizing of images and boxes.

Boxes are clipped to the result of a step, and those hardly visible are dropped
with their labels. The arguments of each step are in `options/transforms.py`.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from efficientdet_pipeline.augment.auto_augment import one_of
from efficientdet_pipeline.augment.geometry import horizontal_flip
from efficientdet_pipeline.augment.resize import Window, crop_window
from efficientdet_pipeline.augment.sample import Augmentation, Sample, compose, image_size, random_apply
from efficientdet_pipeline.options.transforms import Step

WindowOf = Callable[[tf.Tensor, tf.Tensor], Window]
"""From an image's (height, width), float32, and a seed to a window and its size."""
_TRIES = 10


def named_steps(steps: Sequence[Step], *, min_visibility: float) -> list[Augmentation]:
    """Returns each step as an augmentation."""
    return [random_apply(_of_step(step, min_visibility), step.probability) for step in steps]


def _of_step(step: Step, min_visibility: float) -> Augmentation:
    if step.name in GROUPS:
        return GROUPS[step.name](named_steps(step.steps, min_visibility=min_visibility))
    arguments: dict[str, object] = dict(step.arguments)
    if step.name in AUGMENTATIONS:
        return AUGMENTATIONS[step.name](**arguments)
    method = str(arguments.pop("interpolation", "bilinear"))
    window_of = WINDOWS[step.name](**arguments)

    def change(sample: Sample, seed: tf.Tensor) -> Sample:
        window = window_of(image_size(sample.image), seed)
        return crop_window(sample, window, min_visibility=min_visibility, method=method)

    return change


def center_crop(height: int, width: int) -> WindowOf:
    """Returns a centre crop, without scaling; smaller images are kept whole."""
    wanted = tf.constant([height, width], tf.float32)

    def window(source_size: tf.Tensor, seed: tf.Tensor) -> Window:
        del seed
        extent = tf.minimum(wanted, source_size)
        return _window(tf.floor((source_size - extent) / 2), extent, extent)

    return window


def random_sized(min_max_height: tuple[float, float], height: int, width: int, w2h_ratio: float) -> WindowOf:
    """Returns a random crop of random height in pixels and fixed aspect ratio, resized to one size."""
    low, high = min_max_height

    def window(source_size: tf.Tensor, seed: tf.Tensor) -> Window:
        size_seed, place_seed = tf.unstack(tf.random.split(seed))
        tallest = tf.minimum(source_size[0], source_size[1] / w2h_ratio)
        drawn = tf.random.stateless_uniform((), size_seed, low, high + 1e-6)
        extent = tf.minimum(tf.floor(drawn), tallest) * tf.constant([1.0, w2h_ratio])
        return _random_window(source_size, extent, place_seed, (height, width))

    return window


def random_resized_crop(height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]) -> WindowOf:
    """Returns a crop of random area and aspect ratio, resized to one size (Szegedy et al. 2014).

    Of ten draws the first that fits the image is used; if none does, the largest
    centre crop with an allowed aspect ratio.
    """

    def window(source_size: tf.Tensor, seed: tf.Tensor) -> Window:
        area_seed, shape_seed, place_seed = tf.unstack(tf.random.split(seed, 3))
        areas = tf.random.stateless_uniform((_TRIES,), area_seed, *scale) * tf.reduce_prod(source_size)
        shapes = tf.exp(tf.random.stateless_uniform((_TRIES,), shape_seed, *(tf.math.log(each) for each in ratio)))
        drawn = tf.round(tf.sqrt(tf.stack([areas / shapes, areas * shapes], axis=1)))
        fits = tf.reduce_all((drawn >= 1) & (drawn <= source_size), axis=1)
        extent = tf.gather(drawn, tf.argmax(tf.cast(fits, tf.int32)))
        own_shape = tf.clip_by_value(source_size[1] / source_size[0], *ratio)
        middle = tf.round(tf.minimum(source_size, tf.stack([source_size[1] / own_shape, source_size[0] * own_shape])))
        random_window = _random_window(source_size, extent, place_seed, (height, width))
        centered = _window(tf.floor((source_size - middle) / 2), middle, (height, width))
        any_fits = tf.reduce_any(fits)
        return Window(*(tf.where(any_fits, one, other) for one, other in zip(random_window, centered, strict=True)))

    return window


def longest_max_size(max_size: int) -> WindowOf:
    """Returns the whole image, resized so that the longer side is `max_size` pixels."""
    return _scaled(lambda source_size, seed: max_size / tf.reduce_max(source_size))


def smallest_max_size(max_size: int) -> WindowOf:
    """Returns the whole image, resized so that the shorter side is `max_size` pixels."""
    return _scaled(lambda source_size, seed: max_size / tf.reduce_min(source_size))


def random_scale(scale_limit: float) -> WindowOf:
    """Returns the whole image, scaled by a factor from 1 − scale_limit to 1 + scale_limit."""
    low, high = 1 - scale_limit, 1 + scale_limit
    return _scaled(lambda source_size, seed: low + (high - low) * tf.random.stateless_uniform((), seed))


def resize(height: int, width: int) -> WindowOf:
    """Returns the whole image, resized to one size; the aspect ratio is not kept."""
    return lambda source_size, seed: _window(tf.zeros(2), source_size, (height, width))


WINDOWS: dict[str, Callable[..., WindowOf]] = {
    "CenterCrop": center_crop,
    "RandomSized": random_sized,
    "RandomResizedCrop": random_resized_crop,
    "LongestMaxSize": longest_max_size,
    "SmallestMaxSize": smallest_max_size,
    "RandomScale": random_scale,
    "resize": resize,
}
"""Name of a step that crops or resizes → function of its arguments, which returns the window."""
AUGMENTATIONS: dict[str, Callable[..., Augmentation]] = {"HorizontalFlip": lambda: horizontal_flip}
"""Name of any other step → function of its arguments, which returns the augmentation."""
GROUPS: dict[str, Callable[[Sequence[Augmentation]], Augmentation]] = {"compose": compose, "OneOf": one_of}
"""Name of a step that holds steps → what applies them."""


def _scaled(scale_of: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> WindowOf:
    return lambda source_size, seed: _window(
        tf.zeros(2), source_size, tf.maximum(tf.round(source_size * scale_of(source_size, seed)), 1.0)
    )


def _random_window(source_size: tf.Tensor, extent: tf.Tensor, seed: tf.Tensor, size: tuple[int, int]) -> Window:
    """Returns a window of size `extent` at a random position."""
    extent = tf.clip_by_value(tf.round(extent), 1.0, source_size)
    begin = tf.floor(tf.random.stateless_uniform((2,), seed) * (source_size - extent + 1))
    return _window(tf.minimum(begin, source_size - extent), extent, size)


def _window(begin: tf.Tensor, extent: tf.Tensor, size: tf.Tensor) -> Window:
    return Window(tf.cast(tf.concat([begin, begin + extent], 0), tf.int32), tf.cast(size, tf.int32))
