"""Validation batches equal those of training without augmentation, each image once."""

from collections.abc import Callable
from typing import Any

import numpy as np
from efficientdet.config import get_config

from efficientdet_pipeline.data.validation_batches import validation_batches

CONFIG = get_config("efficientdet-lite0", image_size=64, num_classes=3)


def test_validation_batches_hold_each_image_once_without_crowds(
    write_shards: Callable[..., Any], image: Callable[..., Any], box_of: Callable[..., Any]
) -> None:
    things = [[box_of(1), box_of(2, is_crowd=True)], [], [box_of(2), box_of(2)]]
    files = write_shards([image(number, objects) for number, objects in enumerate(things, start=1)])
    batches = list(validation_batches(files, CONFIG, batch_size=2, class_ids={2: 3}))
    assert [len(images) for images, _ in batches] == [2, 1]
    assert batches[0][1].class_ids.numpy().tolist() == [[1], [-1]]
    assert batches[1][1].class_ids.numpy().tolist() == [[3, 3]]
    # Images of 24 by 32 pixels on a canvas of 64: everything is twice as large.
    np.testing.assert_allclose(batches[1][1].boxes[0, 0], [12, 16, 36, 48], atol=1e-4)
    assert (batches[0][1].boxes[1].numpy() == -1).all()
    chosen = list(validation_batches(files, CONFIG, batch_size=8, numbers=[2]))
    np.testing.assert_array_equal(chosen[0][0][0], batches[1][0][0])
