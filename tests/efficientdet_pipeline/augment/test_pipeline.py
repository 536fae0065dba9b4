"""Augmentation pipeline from options: flips, policies, grids, colours, and the canvas."""

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_pipeline.augment.auto_augment import OPERATIONS, autoaugment, randaugment
from efficientdet_pipeline.augment.auto_augment_policies import POLICIES
from efficientdet_pipeline.augment.color import hsv_jitter
from efficientdet_pipeline.augment.erase import grid_mask
from efficientdet_pipeline.augment.geometry import horizontal_flip
from efficientdet_pipeline.augment.pipeline import augmenter, canvas_augmenter, num_partners
from efficientdet_pipeline.augment.sample import Sample
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.augmentation import AugmentationOptions


def alone(change: Any) -> Callable[[Sample, tf.Tensor], Any]:
    """Returns a canvas augmenter as a function of (sample, seed), for samples without partners."""
    return lambda sample, seed: change(sample, [], seed)


STILL = {"input_rand_hflip": False, "jitter_min": 1.0, "jitter_max": 1.0}


def test_pipeline_no_options_no_change(marked: Sample) -> None:
    result = augmenter(AugmentationOptions(**STILL))(marked, tf.constant([1, 2]))
    for ours, given in zip(result, marked, strict=True):
        np.testing.assert_array_equal(ours, given)


def test_pipeline_half_of_the_images_are_mirrored(marked: Sample, run, check) -> None:
    mirrored = horizontal_flip(marked, tf.constant([0, 0]))
    results = run(augmenter(AugmentationOptions()), marked, list(range(100)))
    turned = []
    for result in results:
        check(result)
        turned.append(bool((result.image == mirrored.image.numpy()).all()))
        expected = mirrored if turned[-1] else marked
        np.testing.assert_array_equal(result.image, expected.image)
        np.testing.assert_array_equal(result.boxes, expected.boxes)
    assert 0.38 < np.mean(turned) < 0.62


def test_pipeline_jittered_canvases_keep_boxes_on_their_pixels(marked: Sample, run, check) -> None:
    change = canvas_augmenter(AugmentationOptions(jitter_min=0.5, jitter_max=2.0), (128, 96))
    results = run(alone(change), marked, list(range(60)))
    num_whole = 0
    for result in results:
        assert result.image.shape == (128, 96, 3)
        assert result.image.dtype == np.uint8
        rows, columns = result.valid_size
        assert (result.boxes[:, 2:] <= (rows, columns)).all()
        assert not result.image[rows:].any()
        assert not result.image[:, columns:].any()
        check(result, markers=False)
        whole = (result.boxes[:, :2] > 0).all(axis=1) & (result.boxes[:, 2:] < (rows, columns)).all(axis=1)
        for box, class_id in zip(result.boxes[whole], result.class_ids[whole], strict=True):
            y, x = (box[:2] + box[2:]).astype(int) // 2  # the marker is in the middle
            assert abs(int(result.image[y, x, 2]) - 40 * class_id) <= 12
            num_whole += 1
    assert num_whole > 100
    assert len({tuple(result.valid_size) for result in results}) > 20
    assert min(len(result.class_ids) for result in results) < 5


def test_pipeline_empty_image_goes_all_the_way(unmarked: Sample, run, check) -> None:
    options = AugmentationOptions(
        autoaugment_policy="randaug", grid_mask=True, hsv_hue=0.1, hsv_saturation=0.5, hsv_value=0.4
    )
    for result in run(alone(canvas_augmenter(options, (64, 64))), unmarked, list(range(12))):
        check(result, markers=False)
        assert result.boxes.shape == (0, 4)


@pytest.mark.parametrize("policy", [*POLICIES, "randaug"])
def test_pipeline_policies_keep_boxes_and_labels_together(policy: str, marked: Sample, run, check) -> None:
    options = AugmentationOptions(**STILL, autoaugment_policy=policy)
    results = run(augmenter(options), marked, list(range(40)), eagerly=4)
    for result in results:
        check(result, markers=False)
        assert result.image.dtype == np.uint8
        assert result.image.shape == marked.image.shape
        assert set(result.class_ids) <= {1, 2, 3, 4, 5}
    assert len({result.image.tobytes() for result in results}) > 5 or policy == "test"


def test_pipeline_policies_are_whole() -> None:
    assert {name: len(steps) for name, steps in POLICIES.items()} == {"v0": 5, "v1": 20, "v2": 15, "v3": 15, "test": 1}
    steps = [step for policy in POLICIES.values() for subpolicy in policy for step in subpolicy]
    assert {step.name for step in steps} < set(OPERATIONS)
    assert all(0 <= step.probability <= 1 and 0 <= step.level <= 10 for step in steps)
    assert POLICIES["v1"][:5] == POLICIES["v0"]


def test_pipeline_randaugment_uses_its_probability(marked: Sample, run) -> None:
    results = run(randaugment(magnitude=4.0), marked, list(range(200)), eagerly=1)
    changed = [(result.image != marked.image.numpy()).any() for result in results]
    assert 0.4 < np.mean(changed) < 0.6


def test_pipeline_every_other_image_gets_a_grid(marked: Sample, run) -> None:
    options = AugmentationOptions(**STILL, grid_mask=True)
    results = run(augmenter(options), marked._replace(image=marked.image | 1), list(range(200)), eagerly=1)
    masked = [(result.image == 0).any() for result in results]
    assert 0.42 < np.mean(masked) < 0.58
    gone = np.mean([(result.image == 0).mean() for result, has_grid in zip(results, masked, strict=True) if has_grid])
    assert 0.12 < gone < 0.2  # squares of .4 of the period, so .16 of the area
    for result in results[:5]:
        np.testing.assert_array_equal(result.boxes, marked.boxes)


def test_pipeline_grid_follows_its_seed(marked: Sample) -> None:
    first, again, other = (grid_mask(marked, tf.constant(seed)).image.numpy() for seed in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_pipeline_hsv_leaves_grey_without_color_and_boxes_where_they_are(marked: Sample, run) -> None:
    grey = marked._replace(image=tf.fill((8, 8, 3), tf.constant(100, tf.uint8)))
    values = set()
    for result in run(lambda *both: hsv_jitter(*both, hue=0.1, saturation=0.7, value=0.4), grey, list(range(20))):
        assert len(np.unique(result.image)) == 1
        assert 60 <= result.image.max() <= 140
        values.add(int(result.image.max()))
        np.testing.assert_array_equal(result.boxes, marked.boxes)
    assert len(values) > 10
    unchanged = hsv_jitter(marked, tf.constant([1, 2]), hue=0.0, saturation=0.0, value=0.0)
    np.testing.assert_array_equal(unchanged.image, marked.image)


def test_pipeline_whole_way_is_a_function_of_the_seed(marked: Sample) -> None:
    options = AugmentationOptions(autoaugment_policy="v0", grid_mask=True, hsv_value=0.4)
    change = alone(canvas_augmenter(options, (96, 96)))
    first, again, other = (change(marked, tf.constant(seed, tf.int64)) for seed in ([3, 8], [3, 8], [3, 9]))
    for ours, repeated in zip(first, again, strict=True):
        np.testing.assert_array_equal(ours, repeated)
    assert (first.image.numpy() != other.image.numpy()).any()


@pytest.mark.parametrize(
    ("wish", "complaint"),
    [
        ({"jitter_min": 0.0}, "jitter_min must be above 0"),
        ({"jitter_min": 3.0}, "at most jitter_max (1.4)"),
        ({"autoaugment_policy": "v9"}, "Received 'v9'"),
        ({"randaug_magnitude": 15}, "randaug_magnitude must be between 0 and 10. Received 15"),
        ({"hsv_hue": 0.7}, "hsv_hue must be between 0 and 0.5"),
        ({"mosaic": 1.5}, "mosaic must be between 0 and 1. Received 1.5"),
        ({"close_mosaic": -1}, "close_mosaic must be 0 or more"),
        ({"min_visibility": -0.1}, "min_visibility must be between 0 and 1"),
    ],
)
def test_pipeline_impossible_options_are_refused(wish: dict[str, object], complaint: str) -> None:
    with pytest.raises(OptionsError, match=re.escape(complaint)) as caught:
        AugmentationOptions(**wish)
    assert caught.value.option in wish


def test_pipeline_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="Known: v0, v1, v2, v3, test"):
        autoaugment("v9")


def test_pipeline_options_load_no_tensorflow() -> None:
    code = (
        "import sys, efficientdet_pipeline.options.augmentation as o;"
        "o.AugmentationOptions(augment_steps='[HorizontalFlip]'); print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_pipeline_images_that_are_not_varied_are_as_evaluation_sees_them(marked: Sample) -> None:
    options = AugmentationOptions(augment=False, mosaic=1.0, hsv_value=0.4, augment_steps="[{name: RandomScale}]")
    assert num_partners(options) == 0
    canvas = canvas_augmenter(options, (60, 90))(marked, [], tf.constant([1, 2]))
    np.testing.assert_array_equal(canvas.valid_size, [60, 80])
    np.testing.assert_allclose(canvas.image[:60, :80], tf.image.resize(marked.image, (60, 80)), atol=0.51)
    np.testing.assert_allclose(canvas.boxes, marked.boxes / 2, atol=1e-4)


def mixing(marked: Sample, options: AugmentationOptions, *, ends: int | None = None) -> tuple[Any, list[int]]:
    """Returns a mixer as a function of (sample, seed), and the list of partners that it read."""
    read: list[int] = []

    def partner(number: int) -> Sample:
        tf.numpy_function(lambda: read.append(number), [], [])
        return marked._replace(image=255 - marked.image)

    partners = [lambda number=number: partner(number) for number in range(num_partners(options))]
    change = canvas_augmenter(options, (96, 128), mixing_ends=ends)
    return (lambda sample, seed: change(sample, partners, seed)), read


@pytest.mark.parametrize(("name", "wanted"), [("mosaic", {0, 1, 2}), ("mixup", {3}), ("copy_paste", {4})])
def test_pipeline_partners_are_read_when_they_are_drawn_and_only_then(
    name: str, wanted: set[int], marked: Sample, run, check
) -> None:
    options = AugmentationOptions(**STILL, **{name: 0.5})
    change, read = mixing(marked, options)
    plain = canvas_augmenter(AugmentationOptions(**STILL), (96, 128))(marked, [], tf.constant([17, 0]))
    results = run(change, marked, list(range(30)), eagerly=0)
    untouched = [bool((result.image == plain.image.numpy()).all()) for result in results]
    assert 5 < sum(untouched) < 25
    assert set(read) == wanted
    assert len(read) == len(wanted) * (30 - sum(untouched))
    for result in results:
        check(result, markers=False)


def test_pipeline_everything_at_once_eagerly_and_inside_a_pipeline(
    marked: Sample, unmarked: Sample, run, check
) -> None:
    options = AugmentationOptions(
        mosaic=0.7, mixup=0.5, copy_paste=0.5, hsv_hue=0.1, grid_mask=True,
        augment_steps="[{name: RandomResizedCrop, height: 100, width: 100, p: 0.5}]",
    )  # fmt: skip
    change, _ = mixing(marked, options)
    for result in run(change, marked, list(range(12)), eagerly=1):
        check(result, markers=False)
        assert result.image.shape == (96, 128, 3)
    empty, _ = mixing(unmarked, options)
    for result in run(empty, unmarked, list(range(6)), eagerly=0):
        check(result, markers=False)
        assert result.boxes.shape == (0, 4)


def test_pipeline_mixing_ends_at_a_sample(marked: Sample, run) -> None:
    change, _ = mixing(marked, AugmentationOptions(**STILL, mosaic=1.0), ends=5)
    plain = canvas_augmenter(AugmentationOptions(**STILL), (96, 128))(marked, [], tf.constant([17, 0]))
    results = run(change, marked, list(range(10)), eagerly=0)
    assert [bool((result.image == plain.image.numpy()).all()) for result in results] == [False] * 5 + [True] * 5
