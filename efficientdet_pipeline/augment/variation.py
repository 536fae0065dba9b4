"""Flips, rotation and color changes of images without boxes, shared by segmentation and classification."""

from dataclasses import dataclass
from typing import TypedDict

import tensorflow as tf

from efficientdet_pipeline.augment.color import hsv_jitter
from efficientdet_pipeline.augment.geometry import horizontal_flip, move, rotation
from efficientdet_pipeline.augment.sample import Augmentation, Sample, image_size, random_apply


@dataclass(frozen=True, kw_only=True)
class Variation:
    """Strength of each augmentation; 0 disables one."""

    horizontal_flip: float = 0.5
    """Probability."""
    vertical_flip: float = 0.0
    """Probability of a vertical flip, for images without orientation, such as microscopy and satellite images."""
    rotation: float = 0.0
    """Largest angle in degrees, in either direction."""
    hsv_hue: float = 0.0
    """Maximum rotation of the hue, as a fraction of the color circle."""
    hsv_saturation: float = 0.0
    """Maximum relative change of the saturation."""
    hsv_value: float = 0.0
    """Maximum relative change of the brightness."""

    def __post_init__(self) -> None:
        for key in ("horizontal_flip", "vertical_flip"):
            if not 0 <= getattr(self, key) <= 1:
                raise ValueError(f"{key} must be a probability from 0 to 1. Received {key}={getattr(self, key)}.")

    @property
    def flips(self) -> list[Augmentation]:
        """Returns the flips with their probabilities."""
        pairs = (horizontal_flip, self.horizontal_flip), (vertical_flip, self.vertical_flip)
        return [random_apply(flip, probability) for flip, probability in pairs if probability]

    @property
    def turns(self) -> list[Augmentation]:
        """Returns the rotation, if there is one."""
        return [random_rotation(self.rotation)] if self.rotation else []

    def in_color(self, sample: Sample, seed: tf.Tensor) -> Sample:
        """Returns the sample in other colors."""
        if not (self.hsv_hue or self.hsv_saturation or self.hsv_value):
            return sample
        return hsv_jitter(sample, seed, hue=self.hsv_hue, saturation=self.hsv_saturation, value=self.hsv_value)


class VariationArguments(TypedDict):
    """Arguments of `Variation`."""

    horizontal_flip: float
    vertical_flip: float
    rotation: float
    hsv_hue: float
    hsv_saturation: float
    hsv_value: float


def vertical_flip(sample: Sample, seed: tf.Tensor) -> Sample:
    """Returns the sample flipped vertically; not random."""
    del seed
    height = image_size(sample.image)[0]
    top, left, bottom, right = tf.unstack(sample.boxes, axis=1)
    return sample._replace(
        image=tf.reverse(sample.image, axis=[0]),
        boxes=tf.stack([height - bottom, left, height - top, right], axis=1),
    )


def random_rotation(degrees: float) -> Augmentation:
    """Returns a rotation around the center by an angle drawn from -degrees to degrees."""

    def change(sample: Sample, seed: tf.Tensor) -> Sample:
        angle = tf.random.stateless_uniform((), seed, -degrees, degrees)
        return move(sample, rotation(image_size(sample.image), angle), min_visibility=0.0)

    return change
