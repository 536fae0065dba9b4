"""Sizes and classes of records without decoding images, and sampling weights."""

from collections.abc import Callable

import numpy as np
import pytest

from efficientdet_pipeline.data.dataset_stats import (
    ShardStats,
    balance_weights,
    boxes_beyond_limit,
    read_boxes,
    read_shard_stats,
)
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject


def test_dataset_stats_every_record_is_read(write_shards: Callable, image: Callable, box_of: Callable) -> None:
    files = write_shards([image(0, [box_of(3), box_of(1)]), image(1)], [image(2, [box_of(2)])])
    contents = read_shard_stats(files)
    np.testing.assert_array_equal(contents.sizes, [[24, 32]] * 3)
    np.testing.assert_array_equal(contents.class_ids, [3, 1, 2])
    np.testing.assert_array_equal(contents.owners, [0, 0, 2])
    np.testing.assert_array_equal(contents.num_boxes, [2, 0, 1])
    assert boxes_beyond_limit(contents, 1) == (1, 1)
    assert boxes_beyond_limit(contents, 2) == (0, 0)


def of(*photos: list[int]) -> ShardStats:
    owners = np.repeat(np.arange(len(photos)), [len(photo) for photo in photos])
    return ShardStats(
        np.ones((len(photos), 2), np.int64), np.array([each for photo in photos for each in photo], np.int64), owners
    )


@pytest.mark.parametrize(("strength", "rare"), [(0.0, 1.0), (0.5, 2.0), (1.0, 4.0)])
def test_dataset_stats_images_of_rare_classes_weigh_more(strength: float, rare: float) -> None:
    # Class 1 is on four images, twice on one of them; class 2 is on one of those; one image is empty.
    weights = balance_weights(of([1], [1, 1], [1], [1, 2], []), strength)
    assert weights.sum() == pytest.approx(5)
    np.testing.assert_allclose(weights / weights[0], [1, 1, 1, rare, 1])


def test_dataset_stats_images_without_any_object_weigh_alike() -> None:
    np.testing.assert_array_equal(balance_weights(of([], []), 1.0), [1, 1])


def test_read_boxes_in_pixels_without_crowds(
    write_shards: Callable[..., tuple[str, ...]],
    image: Callable[..., AnnotatedImage],
    box_of: Callable[..., AnnotatedObject],
) -> None:
    files = write_shards(
        [image(1, [box_of(2), box_of(3, is_crowd=True)]), image(2)], [image(3, [box_of(1, box=(0, 0, 24, 32))])]
    )
    found = read_boxes(files)
    np.testing.assert_allclose(found.boxes, [(6, 8, 18, 24), (0, 0, 24, 32)], atol=1e-4)
    assert found.class_ids.tolist() == [2, 1]
    assert found.image_sizes.tolist() == [[24, 32], [24, 32]]
    assert read_boxes(files, skip_crowd=False).class_ids.tolist() == [2, 3, 1]
