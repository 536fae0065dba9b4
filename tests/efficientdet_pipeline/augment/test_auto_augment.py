"""AutoAugment operations: boxes follow pixels, labels follow boxes."""

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_pipeline.augment.auto_augment import COLORS, CONTENTS, MOVES, OPERATIONS, operation
from efficientdet_pipeline.augment.sample import Sample


def test_autoaugment_there_are_twenty_five() -> None:
    assert len(OPERATIONS) == len(set(OPERATIONS)) == 25


@pytest.mark.parametrize("name", OPERATIONS)
def test_autoaugment_boxes_follow_pixels(name: str, marked: Sample, run, check) -> None:
    results = run(operation(name, 1.0, 2.0, min_visibility=0.1), marked, list(range(6)))
    for result in results:
        assert result.image.dtype == np.uint8
        assert result.image.shape == marked.image.shape
        check(result, markers=not ("Solarize" in name or "Equalize" in name or name in COLORS))
        if name not in MOVES:
            np.testing.assert_array_equal(result.boxes, marked.boxes)
            np.testing.assert_array_equal(result.class_ids, marked.class_ids)


@pytest.mark.parametrize("name", OPERATIONS)
def test_autoaugment_no_boxes_in_no_boxes_out(name: str, unmarked: Sample) -> None:
    result = operation(name, 1.0, 6.0, min_visibility=0.1)(unmarked, tf.constant([1, 2]))
    assert result.boxes.shape == (0, 4)
    assert result.class_ids.shape == (0,)
    assert result.image.shape == unmarked.image.shape
    if name in CONTENTS or name == "BBox_Cutout":
        np.testing.assert_array_equal(result.image, unmarked.image)


@pytest.mark.parametrize("name", [*MOVES, "Cutout", "BBox_Cutout", *CONTENTS])
def test_autoaugment_seed_alone_decides(name: str, marked: Sample) -> None:
    change = operation(name, 1.0, 3.0, min_visibility=0.1)
    images = [change(marked, tf.constant([5, seed])).image.numpy() for seed in (1, 1, *range(2, 8))]
    np.testing.assert_array_equal(images[0], images[1])
    assert any((image != images[0]).any() for image in images[2:])


@pytest.mark.parametrize("name", OPERATIONS)
def test_autoaugment_one_pixel_is_image_enough(name: str) -> None:
    dot = Sample(tf.fill((1, 1, 3), tf.constant(7, tf.uint8)), tf.constant([[0.0, 0.0, 1.0, 1.0]]), tf.constant([3]))
    assert operation(name, 1.0, 10.0, min_visibility=0.1)(dot, tf.constant([1, 2])).image.shape == (1, 1, 3)


def test_autoaugment_probability_zero_never_happens_and_chance_is_kept(marked: Sample, run) -> None:
    assert operation("Posterize", 0.0, 5.0, min_visibility=0.0)(marked, tf.constant([1, 2])) is marked
    changed = [
        (result.image != marked.image.numpy()).any()
        for result in run(operation("Posterize", 0.3, 5.0, min_visibility=0.0), marked, list(range(300)), eagerly=1)
    ]
    assert 0.22 < np.mean(changed) < 0.38


def test_autoaugment_contents_change_at_a_third_of_the_probability(marked: Sample, run) -> None:
    inverted = run(operation("Flip_Only_BBoxes", 0.9, 0.0, min_visibility=0.0), marked, list(range(100)), eagerly=1)
    centers = marked.boxes.numpy().astype(int)
    changed = [
        (result.image[y0:y1, x0:x1] != marked.image.numpy()[y0:y1, x0:x1]).any()
        for result in inverted
        for y0, x0, y1, x1 in centers
    ]
    assert 0.22 < np.mean(changed) < 0.38


def test_autoaugment_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match="Unknown augmentation operation 'Rotat'"):
        operation("Rotat", 0.5, 5, min_visibility=0.1)
    with pytest.raises(ValueError, match="level=15"):
        operation("Solarize", 0.5, 15, min_visibility=0.1)


def test_autoaugment_posterize_never_leaves_a_black_image(marked: Sample) -> None:
    # AutoAugment's v3 uses level 2, which is less than one bit.
    result = operation("Posterize", 1.0, 2.0, min_visibility=0.1)(marked, tf.constant([1, 2]))
    assert set(np.unique(result.image)) == {0, 128}
