"""Changes of what boxes contain, one box after the other; boxes stay as they are."""

from collections.abc import Callable

import tensorflow as tf

from efficientdet_pipeline.augment.geometry import AffineOf, move_image, random_sign
from efficientdet_pipeline.augment.rows import paste
from efficientdet_pipeline.augment.sample import Sample, image_size

ImageChange = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""From an image and a seed to an image of the same size."""


def change_contents(sample: Sample, seed: tf.Tensor, change: ImageChange, *, probability: float) -> Sample:
    """Returns the sample with `change` done to the content of each box, by chance.

    Args:
      sample: later boxes see what was done to earlier ones.
      seed: (2,) integers; every box has its own share.
      change: of the content, as if it were a picture.
      probability: for each box on its own.
    """
    num_boxes = tf.shape(sample.boxes)[0]
    chance_seed, change_seed = tf.unstack(tf.random.split(seed))
    happens = tf.random.stateless_uniform((num_boxes,), chance_seed) < probability
    seeds = tf.random.split(change_seed, num_boxes)
    limits = tf.tile(image_size(sample.image), [2])
    corners = tf.concat([tf.floor(sample.boxes[:, :2]), tf.math.ceil(sample.boxes[:, 2:])], axis=1)
    corners = tf.cast(tf.clip_by_value(corners, 0.0, limits), tf.int32)
    happens &= tf.reduce_all(corners[:, 2:] > corners[:, :2], axis=1)

    def changed(image: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        y0, x0, y1, x1 = tf.unstack(corners[number])
        content = change(image[y0:y1, x0:x1], seeds[number])
        return paste(image, content, (y0, x0))

    def body(number: tf.Tensor, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return number + 1, tf.cond(happens[number], lambda: changed(image, number), lambda: image)

    _, image = tf.while_loop(lambda number, image: number < num_boxes, body, (0, sample.image), parallel_iterations=1)
    return sample._replace(image=image)


def moved(affine_of: AffineOf, amount: float) -> ImageChange:
    """Returns a change that moves an image by the map for `amount`, of random sign."""
    return lambda image, seed: move_image(image, affine_of(image_size(image), random_sign(seed) * amount))
