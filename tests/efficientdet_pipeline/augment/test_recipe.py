"""From options to augmentation: mirrors, policies, grids, colours and the way to the canvas."""

import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_pipeline import augment
from efficientdet_pipeline.augment import (
    OPERATIONS,
    AugmentOptions,
    Sample,
    augmenter,
    canvas_augmenter,
    grid_mask,
    mirror,
    randaugment,
)
from efficientdet_pipeline.augment.automatic import autoaugment
from efficientdet_pipeline.augment.hsv import hsv_jitter
from efficientdet_pipeline.augment.policies import POLICIES
from efficientdet_pipeline.errors import OptionsError

STILL = {"input_rand_hflip": False, "jitter_min": 1.0, "jitter_max": 1.0}


def test_no_wishes_no_change(marked: Sample) -> None:
    result = augmenter(AugmentOptions(**STILL, autoaugment_policy=None))(marked, tf.constant([1, 2]))
    for ours, given in zip(result, marked, strict=True):
        np.testing.assert_array_equal(ours, given)


def test_half_of_the_photos_are_mirrored(marked: Sample, run, check) -> None:
    mirrored = mirror(marked, tf.constant([0, 0]))
    results = run(augmenter(AugmentOptions()), marked, list(range(100)))
    turned = []
    for result in results:
        check(result)
        turned.append(bool((result.image == mirrored.image.numpy()).all()))
        expected = mirrored if turned[-1] else marked
        np.testing.assert_array_equal(result.image, expected.image)
        np.testing.assert_array_equal(result.boxes, expected.boxes)
    assert 0.38 < np.mean(turned) < 0.62


def test_jittered_canvases_keep_boxes_on_their_pixels(marked: Sample, run, check) -> None:
    change = canvas_augmenter(AugmentOptions(jitter_min=0.5), (128, 96))
    results = run(change, marked, list(range(60)))
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


def test_an_empty_photo_goes_all_the_way(unmarked: Sample, run, check) -> None:
    options = AugmentOptions(
        autoaugment_policy="randaug", grid_mask=True, hsv_hue=0.1, hsv_saturation=0.5, hsv_value=0.4
    )
    for result in run(canvas_augmenter(options, (64, 64)), unmarked, list(range(12))):
        check(result, markers=False)
        assert result.boxes.shape == (0, 4)


@pytest.mark.parametrize("policy", [*POLICIES, "randaug"])
def test_policies_keep_boxes_and_labels_together(policy: str, marked: Sample, run, check) -> None:
    options = AugmentOptions(**STILL, autoaugment_policy=policy)
    results = run(augmenter(options), marked, list(range(40)), eagerly=4)
    for result in results:
        check(result, markers=False)
        assert result.image.dtype == np.uint8
        assert result.image.shape == marked.image.shape
        assert set(result.class_ids) <= {1, 2, 3, 4, 5}
    assert len({result.image.tobytes() for result in results}) > 5 or policy == "test"


def test_the_policies_are_whole() -> None:
    assert {name: len(steps) for name, steps in POLICIES.items()} == {"v0": 5, "v1": 20, "v2": 15, "v3": 15, "test": 1}
    steps = [step for policy in POLICIES.values() for subpolicy in policy for step in subpolicy]
    assert {step.name for step in steps} < set(OPERATIONS)
    assert all(0 <= step.probability <= 1 and 0 <= step.level <= 10 for step in steps)
    assert POLICIES["v1"][:5] == POLICIES["v0"]


def test_randaugment_uses_its_probability(marked: Sample, run) -> None:
    results = run(randaugment(magnitude=4.0), marked, list(range(200)), eagerly=1)
    changed = [(result.image != marked.image.numpy()).any() for result in results]
    assert 0.4 < np.mean(changed) < 0.6


def test_every_other_photo_gets_a_grid(marked: Sample, run) -> None:
    options = AugmentOptions(**STILL, grid_mask=True)
    results = run(augmenter(options), marked._replace(image=marked.image | 1), list(range(200)), eagerly=1)
    masked = [(result.image == 0).any() for result in results]
    assert 0.42 < np.mean(masked) < 0.58
    gone = np.mean([(result.image == 0).mean() for result, has_grid in zip(results, masked, strict=True) if has_grid])
    assert 0.12 < gone < 0.2  # squares of .4 of the period, so .16 of the area
    for result in results[:5]:
        np.testing.assert_array_equal(result.boxes, marked.boxes)


def test_the_grid_follows_its_seed(marked: Sample) -> None:
    first, again, other = (grid_mask(marked, tf.constant(seed)).image.numpy() for seed in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_hsv_leaves_grey_without_color_and_boxes_where_they_are(marked: Sample, run) -> None:
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


def test_the_whole_way_is_a_function_of_the_seed(marked: Sample) -> None:
    change = canvas_augmenter(AugmentOptions(autoaugment_policy="v0", grid_mask=True, hsv_value=0.4), (96, 96))
    first, again, other = (change(marked, tf.constant(seed, tf.int64)) for seed in ([3, 8], [3, 8], [3, 9]))
    for ours, repeated in zip(first, again, strict=True):
        np.testing.assert_array_equal(ours, repeated)
    assert (first.image.numpy() != other.image.numpy()).any()


@pytest.mark.parametrize(
    ("wish", "complaint"),
    [
        ({"jitter_min": 0.0}, "jitter_min=0.0"),
        ({"jitter_min": 3.0}, "jitter_max=2.0"),
        ({"autoaugment_policy": "v9"}, "Unknown autoaugment_policy 'v9'"),
        ({"randaug_magnitude": 15}, "randaug_magnitude must be between 0 and 10. Received 15"),
        ({"hsv_hue": 0.7}, "hsv_hue must be between 0 and 0.5"),
        ({"min_visibility": -0.1}, "min_visibility must be between 0 and 1"),
    ],
)
def test_impossible_options_are_refused(wish: dict[str, object], complaint: str) -> None:
    with pytest.raises(OptionsError, match=complaint.replace(".", r"\.")) as caught:
        AugmentOptions(**wish)
    assert caught.value.option in wish


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="Known: v0, v1, v2, v3, test"):
        autoaugment("v9")


def test_public_names_are_what_they_say() -> None:
    for name in augment.__all__:
        assert not isinstance(getattr(augment, name), ModuleType), name
    with pytest.raises(AttributeError, match="no attribute 'rotate'"):
        _ = augment.rotate


def test_options_load_no_tensorflow() -> None:
    code = (
        "import sys, efficientdet_pipeline.augment.options as o; o.AugmentOptions(); print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
