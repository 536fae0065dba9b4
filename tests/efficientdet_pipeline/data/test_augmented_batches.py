"""Batches for notebooks are those of training, and reproducible by seed."""

from collections.abc import Callable

import efficientdet
import numpy as np
import pytest

from efficientdet_pipeline.data.augmented_batches import load_batches
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject


def test_load_batches_of_the_networks_size_repeat_by_seed(
    write_shards: Callable[..., tuple[str, ...]],
    image: Callable[..., AnnotatedImage],
    box_of: Callable[..., AnnotatedObject],
) -> None:
    files = write_shards([image(number, [box_of(1), box_of(2)][: number % 3]) for number in range(6)])
    config = efficientdet.get_config("efficientdet-lite0", image_size=64, num_classes=2)
    first, again, other = (
        next(iter(load_batches(",".join(files), config, batch_size=3, seed=seed))) for seed in (1, 1, 2)
    )
    images, truth = first
    assert images.shape == (3, 64, 64, 3)
    assert truth.boxes.shape == (3, 2, 4)
    np.testing.assert_array_equal(images, again[0])
    assert not np.array_equal(images, other[0])


def test_load_batches_of_nothing(tmp_path: object) -> None:
    config = efficientdet.get_config("efficientdet-lite0", image_size=64)
    with pytest.raises(Exception, match="nothing-here"):
        load_batches("nothing-here-*", config)
