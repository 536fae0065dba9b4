"""Mosaic, mixup and copy-paste: objects of all samples are kept, each on its pixels."""

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_pipeline.augment.mosaic_mixup import copy_paste, mixup, mosaic
from efficientdet_pipeline.augment.sample import Sample

SEEDS = list(range(6))


def test_mosaic_mixup_mosaic_fills_four_quarters_each_with_a_part_of_a_sample(
    marked: Sample, unmarked: Sample, run, check
) -> None:
    def change(sample: Sample, seed: tf.Tensor) -> Sample:
        return mosaic([sample, sample, unmarked, sample], seed, size=(200, 240), min_visibility=0.0)

    num_whole = 0
    for result in run(change, marked, list(range(20))):
        assert result.image.shape == (200, 240, 3)
        check(result, markers=False)
        assert len(result.class_ids) >= 3
        assert result.image.any(axis=2).mean() > 0.95
        # A box that was not cut has its marker in the centre; such boxes keep the aspect ratio of the image's.
        for (y0, x0, y1, x1), class_id in zip(result.boxes, result.class_ids, strict=True):
            if abs((y1 - y0) / (x1 - x0) - 29 / 34) < 0.04:
                y, x = int((y0 + y1) / 2), int((x0 + x1) / 2)
                assert abs(int(result.image[y, x, 2]) - 40 * class_id) <= 12
                num_whole += 1
    assert num_whole > 60


def test_mosaic_mixup_mosaic_of_three_is_refused(marked: Sample) -> None:
    with pytest.raises(ValueError, match="Received 3"):
        mosaic([marked] * 3, tf.constant([1, 2]))


def test_mosaic_mixup_mixup_shows_both(marked: Sample, run, check) -> None:
    # Resized to fit 120 x 160, the partner is 40 x 160.
    partner = Sample(tf.zeros((50, 200, 3), tf.uint8), tf.constant([[0.0, 0.0, 20.0, 200.0]]), tf.constant([9]))
    shares = []
    for result in run(lambda sample, seed: mixup(sample, partner, seed), marked, SEEDS):
        assert result.image.shape == marked.image.shape
        np.testing.assert_array_equal(result.class_ids, [1, 2, 3, 4, 5, 9])
        np.testing.assert_allclose(result.boxes[-1], [0, 0, 16, 160])
        check(result, markers=False)
        shares.append(result.image.sum() / marked.image.numpy().sum())
    assert 0.1 < min(shares) < max(shares) < 0.9


def test_mosaic_mixup_mixup_takes_empty_images(marked: Sample, unmarked: Sample, run, check) -> None:
    for first, second, expected in ((marked, unmarked, 5), (unmarked, marked, 5), (unmarked, unmarked, 0)):
        for result in run(lambda sample, seed, other=second: mixup(sample, other, seed), first, [1, 2]):
            check(result, markers=False)
            assert len(result.class_ids) == expected


def test_mosaic_mixup_mosaic_of_empty_images_is_empty(unmarked: Sample, run, check) -> None:
    for result in run(lambda sample, seed: mosaic([sample] * 4, seed, size=(64, 64)), unmarked, [1, 2]):
        check(result)
        assert result.boxes.shape == (0, 4)


def test_mosaic_mixup_copy_paste_adds_an_object_and_drops_what_it_hides(
    marked: Sample, unmarked: Sample, run, check
) -> None:
    # Resized to fit 120 x 160, the donor is twice as large.
    donor_image = tf.fill((60, 60, 3), tf.constant(250, tf.uint8))
    donor = Sample(donor_image, tf.constant([[5.0, 5.0, 28.0, 30.0]]), tf.constant([7]))
    counts = []
    for result in run(lambda sample, seed: copy_paste(sample, donor, seed), marked, list(range(20))):
        check(result)
        assert result.image.shape == marked.image.shape
        assert result.class_ids[-1] == 7
        y0, x0, y1, x1 = result.boxes[-1].astype(int)
        assert (y1 - y0, x1 - x0) == (46, 50)
        assert (result.image[y0:y1, x0:x1] == 250).all()
        assert (result.image == 250).all(axis=-1).sum() == 46 * 50
        counts.append(len(result.class_ids))
    assert max(counts) == 6
    assert min(counts) < 6
    assert copy_paste(marked, unmarked, tf.constant([1, 2])).class_ids.shape == (5,)
    assert copy_paste(unmarked, donor, tf.constant([1, 2])).class_ids.shape == (1,)


def test_mosaic_mixup_pasted_object_is_scaled_with_its_image(marked: Sample) -> None:
    small = Sample(tf.zeros((20, 10, 3), tf.uint8), tf.zeros((0, 4)), tf.zeros((0,), tf.int32))
    donor = marked._replace(boxes=tf.constant([[0.0, 0.0, 120.0, 160.0]]), class_ids=tf.constant([4]))
    result = copy_paste(small, donor, tf.constant([1, 2]))
    # The donor's image is resized to fit, and the object with it: 120 x 160 in 20 x 10 is 7 x 10.
    np.testing.assert_array_equal(result.boxes[:, 2:] - result.boxes[:, :2], [[7, 10]])
