"""Joint augmentation of an image and its semantic map: the same geometry, nearest neighbour for the map.

Augmentations are functions of (sample, seed), so a geometric one that is
applied to image and map with the same seed transforms both equally. Pixels that
come from outside the image get `IGNORE_ID` on the map. `h w` height and
width of an image, `H W` of the canvas.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from efficientdet_pipeline.augment.color import hsv_jitter
from efficientdet_pipeline.augment.geometry import horizontal_flip, move, rotation
from efficientdet_pipeline.augment.resize import crop_window, jitter_window, pad_to_canvas
from efficientdet_pipeline.augment.sample import Augmentation, Sample, compose, image_size, random_apply

IGNORE_ID = 255
"""Value of ignored pixels in a map."""


class SemanticSample(NamedTuple):
    """An image and the class of each of its pixels."""

    image: tf.Tensor
    """(h, w, 3), uint8, or float32 of the same range; RGB."""
    semantic_map: tf.Tensor
    """(h, w) uint8, class ids, or `IGNORE_ID`."""


class SemanticCanvas(NamedTuple):
    """A sample at the top left of the network's canvas, padded with zeros and `IGNORE_ID`."""

    image: tf.Tensor
    """(H, W, 3), dtype of the sample's image, not normalized."""
    valid_size: tf.Tensor
    """(2,) int32, rows and columns of the canvas that contain the image."""
    semantic_map: tf.Tensor
    """(H, W) uint8."""


@dataclass(frozen=True, kw_only=True)
class SemanticAugmentConfig:
    """Strength of each augmentation; 0 disables one."""

    canvas_size: tuple[int, int]
    """(height, width) in pixels."""
    jitter_min: float = 0.5
    """Smallest scale; 1 fits the image into the canvas."""
    jitter_max: float = 2.0
    """Largest scale; a random window of canvas size is cropped from larger results."""
    horizontal_flip: float = 0.5
    """Probability."""
    vertical_flip: float = 0.0
    """Probability of a vertical flip, for images without orientation, such as microscopy and satellite images."""
    rotation: float = 0.0
    """Largest angle in degrees, in either direction."""
    hsv_hue: float = 0.0
    """Maximum rotation of the hue, as a fraction of the colour circle."""
    hsv_saturation: float = 0.0
    """Maximum relative change of the saturation."""
    hsv_value: float = 0.0
    """Maximum relative change of the brightness."""

    def __post_init__(self) -> None:
        if not 0 < self.jitter_min <= self.jitter_max:
            raise ValueError(
                "jitter_min must be above 0 and at most jitter_max. Received "
                f"jitter_min={self.jitter_min}, jitter_max={self.jitter_max}."
            )
        for key in ("horizontal_flip", "vertical_flip"):
            if not 0 <= getattr(self, key) <= 1:
                raise ValueError(f"{key} must be a probability from 0 to 1. Received {key}={getattr(self, key)}.")


def decode_semantic_map(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the class ids (h, w), uint8, of a grey PNG as stored in records."""
    return tf.ensure_shape(tf.io.decode_png(encoded, channels=1), (None, None, 1))[..., 0]


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
    """Returns a rotation around the centre by an angle drawn from -degrees to degrees."""

    def change(sample: Sample, seed: tf.Tensor) -> Sample:
        angle = tf.random.stateless_uniform((), seed, -degrees, degrees)
        return move(sample, rotation(image_size(sample.image), angle), min_visibility=0.0)

    return change


def random_window(config: SemanticAugmentConfig, *, method: str) -> Augmentation:
    """Returns scale jitter and crop; images are resized by `method` of `tf.image.resize`."""

    def change(sample: Sample, seed: tf.Tensor) -> Sample:
        window = jitter_window(
            tf.shape(sample.image)[:2],
            seed,
            canvas_size=config.canvas_size,
            jitter_min=config.jitter_min,
            jitter_max=config.jitter_max,
        )
        return crop_window(sample, window, min_visibility=0.0, method=method)

    return change


def apply_jointly(
    sample: SemanticSample,
    seed: tf.Tensor,
    change: Callable[[Sample, tf.Tensor], Sample],
    map_change: Callable[[Sample, tf.Tensor], Sample] | None = None,
) -> SemanticSample:
    """Returns image and map after the same geometric change.

    Args:
      sample: the input.
      seed: (2,) integers.
      change: for the image.
      map_change: for the map: the same with nearest neighbour. None: `change`, which must not
        interpolate.
    """
    # The second channel distinguishes pixels of the map from filled pixels.
    semantic_map = tf.cast(sample.semantic_map, tf.float32)
    marked = tf.stack([semantic_map, tf.ones_like(semantic_map), semantic_map], axis=-1)
    image = change(_unannotated(sample.image), seed).image
    moved = (map_change or change)(_unannotated(marked), seed).image
    return SemanticSample(image, tf.cast(tf.where(moved[..., 1] == 1, moved[..., 0], float(IGNORE_ID)), tf.uint8))


def semantic_augmenter(config: SemanticAugmentConfig) -> Callable[[SemanticSample, tf.Tensor], SemanticCanvas]:
    """Returns a function from a sample and a seed to a training canvas: flips, window, rotation, colour."""
    flips = [
        *([random_apply(horizontal_flip, config.horizontal_flip)] if config.horizontal_flip else []),
        *([random_apply(vertical_flip, config.vertical_flip)] if config.vertical_flip else []),
    ]
    turns = [random_rotation(config.rotation)] if config.rotation else []
    change, map_change = (
        compose([*flips, random_window(config, method=way), *turns]) for way in ("bilinear", "nearest")
    )
    colors = config.hsv_hue, config.hsv_saturation, config.hsv_value

    def on_canvas(sample: SemanticSample, seed: tf.Tensor) -> SemanticCanvas:
        geometry_seed, color_seed = tf.unstack(tf.random.split(seed))
        sample = apply_jointly(sample, geometry_seed, change, map_change)
        if any(colors):
            hue, saturation, value = colors
            varied = hsv_jitter(_unannotated(sample.image), color_seed, hue=hue, saturation=saturation, value=value)
            sample = sample._replace(image=varied.image)
        return pad_semantic_sample(sample, config.canvas_size)

    return on_canvas


def fit_semantic_sample(sample: SemanticSample, canvas_size: tuple[int, int]) -> SemanticCanvas:
    """Returns the whole image resized to fit the canvas, aspect ratio kept; not random."""
    whole = SemanticAugmentConfig(canvas_size=canvas_size, jitter_min=1.0, jitter_max=1.0)
    change, map_change = (random_window(whole, method=way) for way in ("bilinear", "nearest"))
    return pad_semantic_sample(apply_jointly(sample, tf.constant([0, 0]), change, map_change), canvas_size)


def pad_semantic_sample(sample: SemanticSample, canvas_size: tuple[int, int]) -> SemanticCanvas:
    """Returns the sample at the top left of a canvas; the sample must not be larger."""
    canvas = pad_to_canvas(_unannotated(sample.image), canvas_size)
    below, beside = tf.unstack(tf.constant(canvas_size) - canvas.valid_size)
    padded = tf.pad(sample.semantic_map, [[0, below], [0, beside]], constant_values=IGNORE_ID)
    return SemanticCanvas(canvas.image, canvas.valid_size, tf.ensure_shape(padded, canvas_size))


def _unannotated(image: tf.Tensor) -> Sample:
    return Sample(image, tf.zeros((0, 4)), tf.zeros((0,), tf.int32))
