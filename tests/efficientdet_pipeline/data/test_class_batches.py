"""Input of a classification: batches from any position, shares of processes, and records that do not fit."""

from collections.abc import Callable
from itertools import islice

import numpy as np
import pytest
import tensorflow as tf
from small_class_networks import CLASSIFICATION

from efficientdet_pipeline.augment.image_class import ClassAugmentConfig
from efficientdet_pipeline.data.class_batches import HostShare, evaluation_class_images, training_class_batches
from efficientdet_pipeline.errors import DataError

AUGMENT = ClassAugmentConfig(side=64, hsv_hue=0.1)


@pytest.fixture
def files(write_shards: Callable, image: Callable, box_of: Callable) -> tuple[str, ...]:
    images = [image(number, [box_of(number % 3 + 1)]) for number in range(7)]
    return write_shards(images[:4], images[4:])


def batches(files: tuple[str, ...], *, position: int = 0, host: HostShare | None = None) -> list:
    dataset = training_class_batches(files, AUGMENT, CLASSIFICATION, batch_size=2, seed=5, position=position, host=host)
    return [(images.numpy(), columns.numpy()) for images, columns in islice(dataset, 5)]


def test_training_class_batches_go_on_from_any_position(files: tuple[str, ...]) -> None:
    whole, later = batches(files), batches(files, position=4)
    assert whole[0][0].shape == (2, 64, 64, 3)
    for ours, theirs in zip(later, whole[2:], strict=False):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])
    assert {int(column) for _, columns in whole for column in columns} == {0, 1, 2}


def test_training_class_batches_are_shared_by_processes(files: tuple[str, ...]) -> None:
    whole = batches(files)
    shares = [batches(files, host=HostShare(index, 2)) for index in range(2)]
    for number, (images, columns) in enumerate(whole):
        np.testing.assert_array_equal(np.concatenate([share[number][0] for share in shares]), images)
        np.testing.assert_array_equal(np.concatenate([share[number][1] for share in shares]), columns)


def test_training_class_batches_without_augmentation_are_those_of_evaluation(files: tuple[str, ...]) -> None:
    from efficientdet.imagenet import imagenet_config
    from efficientdet.preprocess_imagenet import imagenet_input

    images, columns = next(iter(training_class_batches(files, None, CLASSIFICATION, batch_size=1, seed=0)))
    same = [record for record in evaluation_class_images(files, 3) if int(record.column) == int(columns[0])]
    expected = [imagenet_input(record.image, imagenet_config("efficientnet-lite0"), 64) for record in same]
    assert any(np.array_equal(images[0], each) for each in expected)


def test_class_records_of_other_numbers_of_classes_are_named(
    write_shards: Callable, image: Callable, box_of: Callable
) -> None:
    for objects, words in (([], "must have one class"), ([box_of(4)], "beyond the 3")):
        files = write_shards([image(0, objects)])
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"(?s){words}.*0.png"):
            list(evaluation_class_images(files, 3))


def test_training_class_batches_need_records(write_shards: Callable) -> None:
    with pytest.raises(DataError, match="Training needs records"):
        batches(write_shards([]))
