"""Records become batches of fixed shape, for training and for evaluation."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_pipeline.data.batches import TrainingStream, evaluation_batches, training_batches

CANVAS = (24, 32)


def vary(photo: tf.Tensor, boxes: tf.Tensor, class_ids: tf.Tensor, seed: tf.Tensor) -> Any:
    """Varies nothing; the canvas shows the photo's number and its seed."""
    number, key = tf.cast(photo[..., :1], tf.float32), tf.cast(tf.reshape(seed, (1, 1, 2)), tf.float32)
    return tf.concat([number, tf.zeros_like(number) + key], axis=-1), boxes, class_ids


def fit(photo: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.cast(photo, tf.float32), tf.constant(2.0)


def stream(files: tuple[str, ...], num_records: int, **given: Any) -> TrainingStream:
    defaults = {"batch_size": 2, "max_instances": 3, "canvas": CANVAS, "seed": 1}
    return TrainingStream(files=files, num_records=num_records, **{**defaults, **given})


@pytest.fixture
def files(write_shards: Callable, image: Callable, box_of: Callable) -> tuple[str, ...]:
    """Photo n has n boxes of class n, and photo 4 a crowd besides."""
    images = [image(n, [box_of(n) for _ in range(n)] + [box_of(9, is_crowd=True)] * (n == 4)) for n in range(5)]
    return write_shards(images[:3], images[3:])


def by_number(dataset: tf.data.Dataset, batches: int) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    found = {}
    for images, truth in dataset.take(batches):
        for row in range(len(images)):
            found[int(images[row, 0, 0, 0])] = (truth.boxes[row].numpy(), truth.class_ids[row].numpy())
    return found


def test_batches_have_fixed_shapes_and_never_end(files: Any) -> None:
    dataset = training_batches(stream(files, 5), vary)
    images, truth = dataset.element_spec
    assert (images.shape, images.dtype) == ((2, *CANVAS, 3), tf.float32)
    assert (truth.boxes.shape, truth.class_ids.shape) == ((2, 3, 4), (2, 3))
    assert (truth.boxes.dtype, truth.class_ids.dtype) == (tf.float32, tf.int32)
    assert len(list(dataset.take(7))) == 7


def test_boxes_are_in_pixels_and_padded_with_minus_one(files: Any) -> None:
    boxes, class_ids = by_number(training_batches(stream(files, 5), vary), 5)[2]
    np.testing.assert_array_equal(class_ids, [2, 2, -1])
    np.testing.assert_allclose(boxes, [[6, 8, 18, 24], [6, 8, 18, 24], [-1, -1, -1, -1]])


def test_a_photo_without_objects_is_all_padding(files: Any) -> None:
    boxes, class_ids = by_number(training_batches(stream(files, 5), vary), 5)[0]
    assert (boxes == -1).all()
    assert (class_ids == -1).all()


def test_more_boxes_than_fit_are_cut(files: Any) -> None:
    _, class_ids = by_number(training_batches(stream(files, 5, max_instances=2), vary), 5)[4]
    np.testing.assert_array_equal(class_ids, [4, 4])


@pytest.mark.parametrize(("skip_crowd", "expected"), [(True, [4] * 4 + [-1]), (False, [4] * 4 + [9])])
def test_crowds_are_left_out_unless_wanted(files: Any, skip_crowd: bool, expected: list[int]) -> None:
    dataset = training_batches(stream(files, 5, skip_crowd=skip_crowd, max_instances=5), vary)
    np.testing.assert_array_equal(by_number(dataset, 5)[4][1], expected)


def test_each_sample_is_varied_by_its_own_seed(files: Any) -> None:
    seeds = [images[row, 0, 0, 1:].numpy().tolist() for images, _ in training_batches(stream(files, 5), vary).take(3)
             for row in range(2)]  # fmt: skip
    assert seeds == [[1, number] for number in range(6)]


def test_a_continued_stream_gives_the_batches_that_would_have_come(files: Any) -> None:
    whole = list(training_batches(stream(files, 5), vary).take(6))
    rest = list(training_batches(stream(files, 5), vary, position=6).take(3))
    for (images, truth), (expected_images, expected) in zip(rest, whole[3:], strict=True):
        np.testing.assert_array_equal(images, expected_images)
        np.testing.assert_array_equal(truth.boxes, expected.boxes)


def test_the_first_batch_may_be_repeated_for_ever(files: Any) -> None:
    dataset = training_batches(stream(files, 5, repeat_first_batch=True), vary, position=6)
    first, second, third = (images.numpy() for images, _ in dataset.take(3))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, third)
    np.testing.assert_array_equal(first[:, 0, 0, 2], [0, 1])


def test_evaluation_sees_every_photo_once_with_its_truth(files: Any) -> None:
    batches = list(evaluation_batches(files, fit, batch_size=2))
    assert [len(batch.images) for batch in batches] == [2, 2, 1]
    assert [name for batch in batches for name in batch.source_ids.numpy()] == [b"0", b"1", b"2", b"3", b"4"]
    assert np.concatenate([batch.num_boxes for batch in batches]).tolist() == [0, 1, 2, 3, 5]
    last = batches[-1]
    np.testing.assert_allclose(last.boxes_original[0, 0], [6, 8, 18, 24])
    np.testing.assert_array_equal(last.class_ids[0], [4, 4, 4, 4, 9])
    np.testing.assert_array_equal(last.is_crowd[0], [False] * 4 + [True])
    np.testing.assert_array_equal(last.areas[0], [12 * 16] * 5)
    np.testing.assert_array_equal(last.scales, [2.0])


def test_photos_without_boxes_are_padded_beside_those_with(files: Any) -> None:
    first = next(iter(evaluation_batches(files, fit, batch_size=4)))
    assert first.boxes_original.shape == (4, 3, 4)
    assert first.num_boxes.numpy().tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(first.boxes_original[0], np.zeros((3, 4)))
    np.testing.assert_array_equal(first.class_ids[2], [2, 2, 0])


def test_a_batch_of_photos_without_boxes_has_no_rows(write_shards: Callable, image: Callable) -> None:
    (batch,) = evaluation_batches(write_shards([image(1), image(2)]), fit, batch_size=8)
    assert batch.boxes_original.shape == (2, 0, 4)
    assert batch.num_boxes.numpy().tolist() == [0, 0]


def test_evaluation_may_stop_after_some_photos(files: Any) -> None:
    batches = list(evaluation_batches(files, fit, batch_size=2, limit=3))
    assert [len(batch.images) for batch in batches] == [2, 1]
