"""tfdet's named steps: boxes are transformed, clipped, and dropped with their labels."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_pipeline.augment.sample import Augmentation, Sample, compose
from efficientdet_pipeline.augment.transforms import WINDOWS, named_steps
from efficientdet_pipeline.options.transforms import ARGUMENTS, OF_STEPS, read_steps

SEEDS = list(range(12))
SIZES = {
    "CenterCrop": "{name: CenterCrop, height: 90, width: 100}",
    "RandomSized": "{name: RandomSized, min_max_height: [40, 110], height: 96, width: 64, w2h_ratio: 0.6667}",
    "RandomResizedCrop": "{name: RandomResizedCrop, height: 80, width: 90}",
    "LongestMaxSize": "{name: LongestMaxSize, max_size: 100}",
    "SmallestMaxSize": "{name: SmallestMaxSize, max_size: 100, interpolation: bicubic}",
    "RandomScale": "{name: RandomScale, scale_limit: 0.4, p: 1}",
    "resize": "{name: resize, height: 70, width: 120, interpolation: area}",
    "HorizontalFlip": "{name: HorizontalFlip}",
    "OneOf": "{name: OneOf, list_pipeline: "
    "[{name: resize, height: 50, width: 50}, {name: LongestMaxSize, max_size: 64}]}",
    "compose": "{name: compose, list_pipeline: [{name: CenterCrop, height: 90, width: 90}, HorizontalFlip]}",
}


def of(text: str, *, min_visibility: float = 0.1) -> Augmentation:
    return compose(named_steps(read_steps(f"[{text}]"), min_visibility=min_visibility))


def test_transforms_every_name_has_its_function() -> None:
    assert set(WINDOWS) | {"HorizontalFlip", *OF_STEPS} == set(ARGUMENTS) == set(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_transforms_markers_stay_inside_their_boxes(name: str, marked: Sample, run: Callable, check: Callable) -> None:
    whole = 0
    for result in run(of(SIZES[name]), marked, SEEDS):
        check(result, markers=False)
        assert result.image.dtype == np.uint8
        limits = np.array(result.image.shape[:2])
        for box, class_id in zip(result.boxes, result.class_ids, strict=True):
            if (box[:2] > 0).all() and (box[2:] < limits).all():  # not cut, so the marker is in the middle
                y, x = (box[:2] + box[2:]).astype(int) // 2
                assert abs(int(result.image[y, x, 2]) - 40 * class_id) <= 25
                whole += 1
    assert whole >= 3


@pytest.mark.parametrize("name", SIZES)
def test_transforms_images_without_objects_pass(name: str, unmarked: Sample, run: Callable, check: Callable) -> None:
    for result in run(of(SIZES[name]), unmarked, SEEDS[:3], eagerly=1):
        check(result, markers=False)
        assert result.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("CenterCrop", (90, 100)),
        ("RandomSized", (96, 64)),
        ("RandomResizedCrop", (80, 90)),
        ("LongestMaxSize", (75, 100)),
        ("SmallestMaxSize", (100, 133)),
        ("resize", (70, 120)),
    ],
)
def test_transforms_steps_give_the_size_they_say(
    name: str, size: tuple[int, int], marked: Sample, run: Callable
) -> None:
    assert {result.image.shape[:2] for result in run(of(SIZES[name]), marked, SEEDS[:4], eagerly=1)} == {size}


def test_transforms_center_crop_shows_the_middle(marked: Sample) -> None:
    result = of("{name: CenterCrop, height: 60, width: 80}")(marked, tf.constant([1, 2]))
    np.testing.assert_array_equal(result.image, marked.image[30:90, 40:120])
    np.testing.assert_allclose(result.boxes[result.class_ids.numpy().tolist().index(2)], [16, 22, 45, 56])


def test_transforms_center_crop_takes_what_a_smaller_image_has(marked: Sample) -> None:
    result = of("{name: CenterCrop, height: 500, width: 80}")(marked, tf.constant([1, 2]))
    np.testing.assert_array_equal(result.image, marked.image[:, 40:120])


def test_transforms_labels_leave_with_their_boxes(marked: Sample) -> None:
    result = of("{name: CenterCrop, height: 40, width: 40}")(marked, tf.constant([1, 2]))
    np.testing.assert_array_equal(result.class_ids, [2])
    np.testing.assert_allclose(result.boxes, [[6, 2, 35, 36]])


def test_transforms_random_scale_is_a_factor_about_one(marked: Sample, run: Callable) -> None:
    heights = [len(result.image) for result in run(of("{name: RandomScale, p: 1}"), marked, list(range(60)), eagerly=1)]
    assert 108 <= min(heights) < 112
    assert 128 < max(heights) <= 132
    halves = [len(result.image) == 120 for result in run(of("RandomScale"), marked, list(range(60)), eagerly=1)]
    assert 0.3 < np.mean(halves) < 0.75


def test_transforms_random_crops_are_within_their_limits_and_differ() -> None:
    window = WINDOWS["RandomResizedCrop"](height=8, width=8, scale=(0.2, 0.5), ratio=(0.5, 2.0))
    photo = tf.constant([100.0, 300.0])
    drawn = tf.map_fn(lambda n: window(photo, tf.stack([3, n])).source, tf.range(80), fn_output_signature=tf.int32)
    extent = (drawn[:, 2:] - drawn[:, :2]).numpy()
    assert (drawn.numpy()[:, 2:] <= (100, 300)).all()
    assert (drawn.numpy()[:, :2] >= 0).all()
    area, shape = extent.prod(axis=1) / 30000, extent[:, 1] / extent[:, 0]
    assert 0.18 < area.min() < 0.3 < area.max() < 0.52
    assert shape.min() > 0.48
    assert shape.max() < 2.1
    assert len(np.unique(drawn, axis=0)) > 70


def test_transforms_crop_that_never_fits_is_the_middle_at_the_nearest_shape() -> None:
    window = WINDOWS["RandomResizedCrop"](height=8, width=8, scale=(0.9, 1.0), ratio=(0.75, 4 / 3))
    source = window(tf.constant([10.0, 300.0]), tf.constant([1, 2])).source
    np.testing.assert_array_equal(source, [0, 143, 10, 156])


def test_transforms_random_heights_lie_between_their_limits() -> None:
    window = WINDOWS["RandomSized"](min_max_height=(20, 40), height=8, width=8, w2h_ratio=2.0)
    sources = [window(tf.constant([50.0, 60.0]), tf.constant([1, n])).source.numpy() for n in range(40)]
    heights = {int(y1 - y0) for y0, _, y1, _ in sources}
    assert heights <= set(range(20, 31))  # wider than 60 it would not fit
    assert {30, 20} & heights
    assert len(heights) > 5
    assert all(x1 - x0 == 2 * (y1 - y0) for y0, x0, y1, x1 in sources)


def test_transforms_one_of_does_each_in_turn(marked: Sample, run: Callable) -> None:
    shapes = {result.image.shape[:2] for result in run(of(SIZES["OneOf"]), marked, SEEDS, eagerly=1)}
    assert shapes == {(50, 50), (48, 64)}


def test_transforms_probability_of_zero_is_never(marked: Sample, run: Callable) -> None:
    text = "{name: resize, height: 9, width: 9, p: 0}"
    assert {len(result.image) for result in run(of(text), marked, SEEDS[:3])} == {120}
    always = of("{name: resize, height: 9, width: 9, p: 0, always_apply: true}")
    assert {len(result.image) for result in run(always, marked, SEEDS[:3])} == {9}


def test_transforms_floating_images_stay_floating(marked: Sample) -> None:
    photo = marked._replace(image=tf.cast(marked.image, tf.float32))
    result: Any = of("{name: resize, height: 9, width: 9, interpolation: bicubic}")(photo, tf.constant([1, 2]))
    assert result.image.dtype == tf.float32
    assert 0 <= tf.reduce_min(result.image) <= tf.reduce_max(result.image) <= 255
