"""Steps of tfdet's input pipelines on one sample, each a dataclass of its keys.

A sample is a dict: id, image (h, w, 3) float32 0 to 255, bboxes (n, 4) y0 x0 y1
x1 from 0 to 1, labels (n, 1), areas (n,) in square pixels and mask (n, 1), 1 for
each object; image_masks (n, h, w) if they were read. Every step keeps these
lists at equal length. All randomness comes from the seed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf
from efficientdet.detectors.part_reader import read_part
from efficientdet.types import Tensor

Sample = dict[str, Tensor]
Seed = Tensor
"""Two int32."""

INTERPOLATIONS = ("bilinear", "nearest", "bicubic", "area", "lanczos3", "lanczos5", "gaussian", "mitchellcubic")
_PER_OBJECT = ("bboxes", "labels", "areas", "mask", "image_masks")
_SMALLEST = 1.0
"""Height and width in pixels below which a clipped box is dropped."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """Keys of every step."""

    p: float = 1.0
    """Probability of applying the step."""
    always_apply: bool = False
    """Whether it is always applied, ignoring `p`."""
    num_parallel_calls: int | str = "AUTO"
    deterministic: str = "true"
    """true, or false, which allows samples in another order."""
    dynamic: bool = False
    """Not supported: steps run in graphs."""

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"p must be 0 to 1. Received {self.p}.")
        if self.dynamic:
            raise ValueError("dynamic must be false; steps run in graphs.")
        if self.deterministic not in ("true", "false"):
            raise ValueError(f"deterministic must be 'true' or 'false'. Received {self.deterministic!r}.")
        if self.num_parallel_calls != "AUTO" and (
            isinstance(self.num_parallel_calls, str) or self.num_parallel_calls < 1
        ):
            raise ValueError(f"num_parallel_calls must be AUTO, or 1 or more. Received {self.num_parallel_calls!r}.")
        interpolation = getattr(self, "interpolation", INTERPOLATIONS[0])
        if interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}. Received {interpolation!r}.")

    def __call__(self, sample: Sample, seed: Seed) -> Sample:
        """Returns the sample after this step."""
        chance, inner = tf.unstack(tf.random.split(seed, 2))
        if self.always_apply or self.p >= 1:
            return self.applied(sample, inner)
        is_applied = tf.random.stateless_uniform((), chance) < self.p
        return tf.cond(is_applied, lambda: self.applied(sample, inner), lambda: _with_open_shapes(sample))

    def applied(self, sample: Sample, seed: Seed) -> Sample:
        """Returns the sample after this step, applied unconditionally."""
        raise TypeError(f"{type(self).__name__} must implement `applied`.")


@dataclass(frozen=True, kw_only=True)
class CenterCrop(Step):
    """A crop of the centre of the image; an error if the image is smaller."""

    height: int
    width: int

    def applied(self, sample: Sample, seed: Seed) -> Sample:
        """Returns the cropped sample."""
        height, width = _size(sample)
        message = f"CenterCrop needs {self.height}x{self.width} pixels (height x width), but the image is smaller"
        checks = [
            tf.debugging.assert_greater_equal(side, asked, message=message)
            for side, asked in ((height, self.height), (width, self.width))
        ]
        with tf.control_dependencies(checks):
            top, left = (height - self.height) // 2, (width - self.width) // 2
        return cropped(sample, top, left, tf.constant(self.height), tf.constant(self.width))


@dataclass(frozen=True, kw_only=True)
class RandomSized(Step):
    """A crop of random height and fixed aspect ratio, resized; no larger than the image."""

    min_max_height: tuple[int, int]
    height: int
    width: int
    w2h_ratio: float = 1.0
    interpolation: str = "bilinear"

    def applied(self, sample: Sample, seed: Seed) -> Sample:
        """Returns the cropped and resized sample."""
        first, second = tf.unstack(tf.random.split(seed, 2))
        height, width = _size(sample)
        low, high = self.min_max_height
        crop = tf.random.stateless_uniform((), first, low, high + 1, tf.int32)
        fits = tf.cast(tf.cast(width, tf.float32) / self.w2h_ratio, tf.int32)
        crop = tf.maximum(tf.minimum(crop, tf.minimum(height, fits)), 1)
        crop_width = tf.maximum(_rounded(tf.cast(crop, tf.float32) * self.w2h_ratio), 1)
        sample = _cropped_at_random(sample, second, crop, tf.minimum(crop_width, width))
        return resized(sample, tf.constant(self.height), tf.constant(self.width), self.interpolation)


@dataclass(frozen=True, kw_only=True)
class RandomResizedCrop(Step):
    """A crop of random area and aspect ratio, resized; after ten draws that do not fit, a centre crop.

    Szegedy et al. 2015, "Going Deeper with Convolutions".
    """

    height: int
    width: int
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (0.75, 4 / 3)
    interpolation: str = "bilinear"
    TRIES = 10

    def applied(self, sample: Sample, seed: Seed) -> Sample:
        """Returns the cropped and resized sample."""
        areas, ratios, place = tf.unstack(tf.random.split(seed, 3))
        height, width = (tf.cast(side, tf.float32) for side in _size(sample))
        area = height * width * tf.random.stateless_uniform((self.TRIES,), areas, *self.scale)
        logs = tf.math.log(tf.constant(self.ratio))
        ratio = tf.exp(tf.random.stateless_uniform((self.TRIES,), ratios, logs[0], logs[1]))
        crop_height, crop_width = tf.round(tf.sqrt(area / ratio)), tf.round(tf.sqrt(area * ratio))
        fits = (crop_height >= 1) & (crop_width >= 1) & (crop_height <= height) & (crop_width <= width)
        first = tf.argmax(tf.cast(fits, tf.int32))
        low, high = self.ratio
        # The largest centre crop with an allowed aspect ratio.
        middle_height, middle_width = tf.minimum(height, width / low), tf.minimum(width, height * high)
        has_fit = tf.reduce_any(fits)
        crop_height = tf.cast(tf.where(has_fit, crop_height[first], tf.floor(middle_height)), tf.int32)
        crop_width = tf.cast(tf.where(has_fit, crop_width[first], tf.floor(middle_width)), tf.int32)
        rows, columns = _size(sample)
        top, left = _random_place(place, rows - crop_height, columns - crop_width)
        top = tf.where(has_fit, top, (rows - crop_height) // 2)
        left = tf.where(has_fit, left, (columns - crop_width) // 2)
        sample = cropped(sample, top, left, crop_height, crop_width)
        return resized(sample, tf.constant(self.height), tf.constant(self.width), self.interpolation)


@dataclass(frozen=True, kw_only=True)
class LongestMaxSize(Step):
    """Resizes the image so that its longer side is `max_size`; the aspect ratio is kept."""

    max_size: int = 1024
    interpolation: str = "bilinear"

    def applied(self, sample: Sample, seed: Seed) -> Sample:
        """Returns the resized sample."""
        return scaled(sample, self.max_size / tf.cast(tf.maximum(*_size(sample)), tf.float32), self.interpolation)


@dataclass(frozen=True, kw_only=True)
class SmallestMaxSize(Step):
    """Resizes the image so that its shorter side is `max_size`; the aspect ratio is kept."""

    max_size: int = 1024
    interpolation: str = "bilinear"

    def applied(self, sample: Sample, seed: Seed) -> Sample:
        """Returns the resized sample."""
        return scaled(sample, self.max_size / tf.cast(tf.minimum(*_size(sample)), tf.float32), self.interpolation)


@dataclass(frozen=True, kw_only=True)
class RandomScale(Step):
    """Resizes the image by a factor between 1 - limit and 1 + limit, or between 1 plus each of two limits."""

    scale_limit: float | tuple[float, float] = 0.1
    p: float = 0.5
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.limits) <= 0 or self.limits[0] > self.limits[1]:
            raise ValueError(f"scale_limit must give factors above 0, the lower first. Received {self.scale_limit}.")

    @property
    def limits(self) -> tuple[float, float]:
        """Returns the lowest and the highest factor."""
        if isinstance(self.scale_limit, tuple):
            return 1.0 + self.scale_limit[0], 1.0 + self.scale_limit[1]
        return 1.0 - self.scale_limit, 1.0 + self.scale_limit

    def applied(self, sample: Sample, seed: Seed) -> Sample:
        """Returns the resized sample."""
        return scaled(sample, tf.random.stateless_uniform((), seed, *self.limits), self.interpolation)


@dataclass(frozen=True, kw_only=True)
class Resize(Step):
    """Resizes the image; the aspect ratio changes."""

    height: int
    width: int
    interpolation: str = "bilinear"

    def applied(self, sample: Sample, seed: Seed) -> Sample:
        """Returns the resized sample."""
        return resized(sample, tf.constant(self.height), tf.constant(self.width), self.interpolation)


@dataclass(frozen=True, kw_only=True)
class Normalize(Step):
    """(pixel - mean * max) / (std * max)."""

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    max_pixel_value: float = 255.0

    def applied(self, sample: Sample, seed: Seed) -> Sample:
        """Returns the sample with normalized pixels."""
        mean, deviation = (tf.constant(value) * self.max_pixel_value for value in (self.mean, self.std))
        return sample | {"image": (sample["image"] - mean) / deviation}


@dataclass(frozen=True, kw_only=True)
class Compose(Step):
    """Steps in sequence."""

    list_pipeline: tuple[dict[str, object], ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.steps

    @property
    def steps(self) -> list[Step]:
        """Returns the steps."""
        return [read_step(step) for step in self.list_pipeline]

    def applied(self, sample: Sample, seed: Seed) -> Sample:
        """Returns the sample after all steps."""
        for index, step in enumerate(self.steps):
            sample = step(sample, seed + tf.constant([0, index + 1]))
        return sample


@dataclass(frozen=True, kw_only=True)
class OneOf(Compose):
    """One of the steps, chosen uniformly."""

    def applied(self, sample: Sample, seed: Seed) -> Sample:
        """Returns the sample after one step."""
        first, second = tf.unstack(tf.random.split(seed, 2))
        chosen = tf.random.stateless_uniform((), first, 0, len(self.steps), tf.int32)

        def branch(step: Step) -> object:
            return lambda: _with_open_shapes(step(sample, second))

        return tf.switch_case(chosen, [branch(step) for step in self.steps])


@dataclass(frozen=True, kw_only=True)
class KeepAndProcessBBox(Step):
    """Converts boxes to pixels, and keeps only the named keys."""

    keep_dict: tuple[str, ...] | str = ("id", "image", "bboxes", "labels", "mask")
    """Names of keys, or "all"."""

    def applied(self, sample: Sample, seed: Seed) -> Sample:
        """Returns the sample with boxes in pixels."""
        height, width = (tf.cast(side, tf.float32) for side in _size(sample))
        sample = sample | {"bboxes": sample["bboxes"] * tf.stack([height, width, height, width])}
        keep = sample if self.keep_dict == "all" else self.keep_dict
        missing = set(keep) - set(sample)
        if missing:
            raise ValueError(f"keep_dict names {', '.join(sorted(missing))}. A sample has {', '.join(sorted(sample))}.")
        return {key: sample[key] for key in keep}


STEPS: dict[str, type[Step]] = {
    "centercrop": CenterCrop,
    "randomsized": RandomSized,
    "randomresizedcrop": RandomResizedCrop,
    # The name in tfdet's documentation.
    "randomresized": RandomResizedCrop,
    "longestmaxsize": LongestMaxSize,
    "smallestmaxsize": SmallestMaxSize,
    "randomscale": RandomScale,
    "resize": Resize,
    "normalize": Normalize,
    "compose": Compose,
    "oneof": OneOf,
    "keepandprocessbbox": KeepAndProcessBBox,
}
"""Lower-case name → dataclass."""


def read_step(given: Mapping[str, object]) -> Step:
    """Returns the step that a dict describes.

    Raises:
      ValueError: a name or key is unknown, or a value is wrong.
    """
    return read_part("step", given, STEPS)


def cropped(sample: Sample, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Sample:
    """Returns a crop of the sample: boxes are clipped, those with less than a pixel left are dropped."""
    rows, columns = (tf.cast(side, tf.float32) for side in _size(sample))
    sides = tf.stack([rows, columns, rows, columns])
    whole = sample["bboxes"] * sides
    offset = tf.cast(tf.stack([top, left, top, left]), tf.float32)
    limit = tf.cast(tf.stack([height, width, height, width]), tf.float32)
    boxes = tf.clip_by_value(whole - offset, 0.0, limit)
    extent = boxes[:, 2:] - boxes[:, :2]
    kept = tf.reduce_all(extent >= _SMALLEST, axis=1)
    share = tf.math.divide_no_nan(tf.reduce_prod(extent, axis=1), tf.reduce_prod(whole[:, 2:] - whole[:, :2], axis=1))
    window = {"image": sample["image"][top : top + height, left : left + width], "bboxes": boxes / limit}
    if "areas" in sample:
        window["areas"] = sample["areas"] * share
    if "image_masks" in sample:
        window["image_masks"] = sample["image_masks"][:, top : top + height, left : left + width]
    sample = sample | window
    return sample | {key: tf.boolean_mask(sample[key], kept) for key in _PER_OBJECT if key in sample}


def resized(sample: Sample, height: Tensor, width: Tensor, interpolation: str) -> Sample:
    """Returns the sample with a resized image; boxes are fractions, and do not change."""
    rows, columns = _size(sample)
    factor = tf.cast(height * width, tf.float32) / tf.cast(rows * columns, tf.float32)
    image = tf.image.resize(sample["image"], tf.stack([height, width]), interpolation)
    sample = sample | {"image": tf.ensure_shape(image, (_static(height), _static(width), 3))}
    if "areas" in sample:
        sample["areas"] = sample["areas"] * factor
    if "image_masks" in sample:
        masks = tf.image.resize(sample["image_masks"][..., tf.newaxis], tf.stack([height, width]), "nearest")
        sample["image_masks"] = masks[..., 0]
    return sample


def scaled(sample: Sample, factor: Tensor, interpolation: str) -> Sample:
    """Returns the sample with both sides of the image scaled by a factor, at least one pixel each."""
    height, width = (tf.maximum(_rounded(tf.cast(side, tf.float32) * factor), 1) for side in _size(sample))
    return resized(sample, height, width, interpolation)


def _size(sample: Sample) -> tuple[Tensor, Tensor]:
    shape = tf.shape(sample["image"])
    return shape[0], shape[1]


def _static(side: Tensor) -> int | None:
    value = tf.get_static_value(side)
    return None if value is None else int(value)


def _rounded(value: Tensor) -> Tensor:
    return tf.cast(tf.round(value), tf.int32)


def _random_place(seed: Seed, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    share = tf.random.stateless_uniform((2,), seed)
    top, left = (
        tf.minimum(tf.cast(share[axis] * tf.cast(room + 1, tf.float32), tf.int32), room)
        for axis, room in enumerate((rows, columns))
    )
    return top, left


def _cropped_at_random(sample: Sample, seed: Seed, height: Tensor, width: Tensor) -> Sample:
    rows, columns = _size(sample)
    return cropped(sample, *_random_place(seed, rows - height, columns - width), height, width)


def _with_open_shapes(sample: Sample) -> Sample:
    """Returns the sample with unknown static shapes, as both branches of a condition need."""
    return sample | {"image": tf.ensure_shape(tf.identity(sample["image"]), (None, None, 3))}
