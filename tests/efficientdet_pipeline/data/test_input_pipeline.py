"""Records become batches of fixed shape, for training and for evaluation."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_pipeline.augment.sample import Sample
from efficientdet_pipeline.data.input_pipeline import Augmenter, InputConfig, evaluation_batches, training_batches

CANVAS = (24, 32)


def draw(photo: Sample, partners: Sequence[Callable[[], Sample]], seed: tf.Tensor) -> Any:
    """Changes nothing; the canvas encodes the image's number, its seed's number and its partner's number."""
    others = [tf.cast(partner().image[..., :1], tf.int64) for partner in partners] or [tf.zeros((*CANVAS, 1), tf.int64)]
    number = tf.cast(photo.image[..., :1], tf.int64)
    return tf.concat([number, tf.zeros_like(number) + seed[1], others[0]], -1), CANVAS, photo.boxes, photo.class_ids


VARY = Augmenter(draw, lambda canvases, shown: tf.cast(canvases, tf.float32))


def fit(photo: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.cast(photo, tf.float32), tf.constant(2.0)


def stream(files: tuple[str, ...], **given: Any) -> InputConfig:
    defaults = {"batch_size": 2, "max_instances": 3, "canvas": CANVAS, "seed": 1}
    return InputConfig(files=files, **{**defaults, **given})


@pytest.fixture
def files(write_shards: Callable, image: Callable, box_of: Callable) -> tuple[str, ...]:
    """Image n has n boxes of class n; image 4 also has a crowd."""
    images = [image(n, [box_of(n) for _ in range(n)] + [box_of(9, is_crowd=True)] * (n == 4)) for n in range(5)]
    return write_shards(images[:3], images[3:])


def by_number(dataset: tf.data.Dataset, batches: int) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    found = {}
    for images, truth in dataset.take(batches):
        for row in range(len(images)):
            found[int(images[row, 0, 0, 0])] = (truth.boxes[row].numpy(), truth.class_ids[row].numpy())
    return found


def test_input_pipeline_batches_have_fixed_shapes_and_never_end(files: Any) -> None:
    dataset = training_batches(stream(files), VARY)
    images, truth = dataset.element_spec
    assert (images.shape, images.dtype) == ((2, *CANVAS, 3), tf.float32)
    assert (truth.boxes.shape, truth.class_ids.shape) == ((2, 3, 4), (2, 3))
    assert (truth.boxes.dtype, truth.class_ids.dtype) == (tf.float32, tf.int32)
    assert len(list(dataset.take(7))) == 7


def test_input_pipeline_boxes_are_in_pixels_and_padded_with_minus_one(files: Any) -> None:
    boxes, class_ids = by_number(training_batches(stream(files), VARY), 5)[2]
    np.testing.assert_array_equal(class_ids, [2, 2, -1])
    np.testing.assert_allclose(boxes, [[6, 8, 18, 24], [6, 8, 18, 24], [-1, -1, -1, -1]])


def test_input_pipeline_image_without_objects_is_all_padding(files: Any) -> None:
    boxes, class_ids = by_number(training_batches(stream(files), VARY), 5)[0]
    assert (boxes == -1).all()
    assert (class_ids == -1).all()


def test_input_pipeline_more_boxes_than_fit_are_cut(files: Any) -> None:
    _, class_ids = by_number(training_batches(stream(files, max_instances=2), VARY), 5)[4]
    np.testing.assert_array_equal(class_ids, [4, 4])


@pytest.mark.parametrize(("skip_crowd", "expected"), [(True, [4] * 4 + [-1]), (False, [4] * 4 + [9])])
def test_input_pipeline_crowds_are_left_out_unless_wanted(files: Any, skip_crowd: bool, expected: list[int]) -> None:
    dataset = training_batches(stream(files, skip_crowd=skip_crowd, max_instances=5), VARY)
    np.testing.assert_array_equal(by_number(dataset, 5)[4][1], expected)


def test_input_pipeline_each_sample_is_varied_by_its_own_seed(files: Any) -> None:
    numbers = [int(row[0, 0, 1]) for images, _ in training_batches(stream(files), VARY).take(3) for row in images]
    assert numbers == list(range(6))


def test_input_pipeline_continued_stream_gives_the_batches_that_would_have_come(files: Any) -> None:
    whole = list(training_batches(stream(files), VARY).take(6))
    rest = list(training_batches(stream(files), VARY, position=6).take(3))
    for (images, truth), (expected_images, expected) in zip(rest, whole[3:], strict=True):
        np.testing.assert_array_equal(images, expected_images)
        np.testing.assert_array_equal(truth.boxes, expected.boxes)


def test_input_pipeline_partners_are_other_images_of_the_data_and_follow_the_position(files: Any) -> None:
    augmenter = VARY._replace(num_partners=1)
    whole = np.concatenate([images for images, _ in training_batches(stream(files), augmenter).take(5)])[:, 0, 0]
    assert (whole[:, 0] != whole[:, 2]).all()
    assert set(whole[:, 2]) == set(range(5))
    rest = np.concatenate([images for images, _ in training_batches(stream(files), augmenter, position=4).take(3)])
    np.testing.assert_array_equal(rest[:, 0, 0], whole[4:])


@pytest.mark.parametrize("num_hosts", [2, 4])
def test_input_pipeline_hosts_share_the_batches_of_one(files: Any, num_hosts: int) -> None:
    augmenter = VARY._replace(num_partners=1)
    whole = list(training_batches(stream(files, batch_size=4), augmenter, position=8).take(4))
    shares = [
        training_batches(stream(files, batch_size=4, num_hosts=num_hosts, host_index=host), augmenter, position=8).take(
            4
        )
        for host in range(num_hosts)
    ]
    for (images, truth), *parts in zip(whole, *shares, strict=True):
        np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), images)
        np.testing.assert_array_equal(np.concatenate([part[1].boxes for part in parts]), truth.boxes)


@pytest.mark.parametrize(("batch_size", "host"), [(3, 0), (4, 2), (4, -1)])
def test_input_pipeline_batch_that_hosts_cannot_share_is_refused(files: Any, batch_size: int, host: int) -> None:
    with pytest.raises(ValueError, match=f"batch_size={batch_size}, num_hosts=2, host_index={host}"):
        stream(files, batch_size=batch_size, num_hosts=2, host_index=host)


def test_input_pipeline_of_too_many_boxes_the_largest_stay(
    write_shards: Callable, image: Callable, box_of: Callable
) -> None:
    sizes = {1: (0, 0, 4, 4), 2: (0, 0, 20, 30), 3: (0, 0, 2, 2), 4: (0, 0, 10, 9)}
    files = write_shards([image(7, [box_of(class_id, box=box) for class_id, box in sizes.items()])])
    _, truth = next(iter(training_batches(stream(files, batch_size=1, max_instances=2), VARY)))
    np.testing.assert_array_equal(truth.class_ids, [[2, 4]])


def test_input_pipeline_first_batch_may_be_repeated_for_ever(files: Any) -> None:
    dataset = training_batches(stream(files, repeat_first_batch=True), VARY, position=6)
    first, second, third = (images.numpy() for images, _ in dataset.take(3))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, third)
    np.testing.assert_array_equal(first[:, 0, 0, 1], [0, 1])


def test_input_pipeline_evaluation_sees_every_image_once_with_its_truth(files: Any) -> None:
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


def test_input_pipeline_images_without_boxes_are_padded_beside_those_with(files: Any) -> None:
    first = next(iter(evaluation_batches(files, fit, batch_size=4)))
    assert first.boxes_original.shape == (4, 3, 4)
    assert first.num_boxes.numpy().tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(first.boxes_original[0], np.zeros((3, 4)))
    np.testing.assert_array_equal(first.class_ids[2], [2, 2, 0])


def test_input_pipeline_batch_of_images_without_boxes_has_no_rows(write_shards: Callable, image: Callable) -> None:
    (batch,) = evaluation_batches(write_shards([image(1), image(2)]), fit, batch_size=8)
    assert batch.boxes_original.shape == (2, 0, 4)
    assert batch.num_boxes.numpy().tolist() == [0, 0]


def test_input_pipeline_evaluation_may_stop_after_some_images(files: Any) -> None:
    batches = list(evaluation_batches(files, fit, batch_size=2, limit=3))
    assert [len(batch.images) for batch in batches] == [2, 1]
