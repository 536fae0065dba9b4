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

from efficientdet_pipeline.augment.resize import crop_window, jitter_window, pad_to_canvas
from efficientdet_pipeline.augment.sample import Augmentation, Sample, compose
from efficientdet_pipeline.augment.variation import Variation

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
class SemanticAugmentConfig(Variation):
    """Strength of each augmentation; 0 disables one."""

    canvas_size: tuple[int, int]
    """(height, width) in pixels."""
    jitter_min: float = 0.5
    """Smallest scale; 1 fits the image into the canvas."""
    jitter_max: float = 2.0
    """Largest scale; a random window of canvas size is cropped from larger results."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.jitter_min <= self.jitter_max:
            raise ValueError(
                "jitter_min must be above 0 and at most jitter_max. Received "
                f"jitter_min={self.jitter_min}, jitter_max={self.jitter_max}."
            )


def decode_semantic_map(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the class ids (h, w), uint8, of a grey PNG as stored in records."""
    return tf.ensure_shape(tf.io.decode_png(encoded, channels=1), (None, None, 1))[..., 0]


def random_window(config: SemanticAugmentConfig, *, method: str, min_visibility: float = 0.0) -> Augmentation:
    """Returns scale jitter and crop; images are resized by `method` of `tf.image.resize`."""

    def change(sample: Sample, seed: tf.Tensor) -> Sample:
        window = jitter_window(
            tf.shape(sample.image)[:2],
            seed,
            canvas_size=config.canvas_size,
            jitter_min=config.jitter_min,
            jitter_max=config.jitter_max,
        )
        return crop_window(sample, window, min_visibility=min_visibility, method=method)

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
    image = change(_unannotated(sample.image), seed).image
    return SemanticSample(image, changed_map(sample.semantic_map, seed, map_change or change))


def changed_map(semantic_map: tf.Tensor, seed: tf.Tensor, change: Augmentation) -> tf.Tensor:
    """Returns a map (h, w), uint8, after a geometric change without interpolation; `IGNORE_ID` outside the image."""
    # The second channel distinguishes pixels of the map from filled pixels.
    values = tf.cast(semantic_map, tf.float32)
    moved = change(_unannotated(tf.stack([values, tf.ones_like(values), values], axis=-1)), seed).image
    return tf.cast(tf.where(moved[..., 1] == 1, moved[..., 0], float(IGNORE_ID)), tf.uint8)


def semantic_augmenter(config: SemanticAugmentConfig) -> Callable[[SemanticSample, tf.Tensor], SemanticCanvas]:
    """Returns a function from a sample and a seed to a training canvas: flips, window, rotation, colour."""
    change, map_change = (
        compose([*config.flips, random_window(config, method=way), *config.turns]) for way in ("bilinear", "nearest")
    )

    def on_canvas(sample: SemanticSample, seed: tf.Tensor) -> SemanticCanvas:
        geometry_seed, color_seed = tf.unstack(tf.random.split(seed))
        sample = apply_jointly(sample, geometry_seed, change, map_change)
        sample = sample._replace(image=config.in_color(_unannotated(sample.image), color_seed).image)
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
