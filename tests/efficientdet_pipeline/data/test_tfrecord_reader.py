"""A serialized record of any writer gives its image and boxes."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf

from efficientdet_pipeline.data.tfrecord_reader import decode_record_image, parse_record, without_crowd
from tfrmod.example import Example, encode_example


def foreign_record(**lists: list[Any]) -> bytes:
    """Returns a record with the given keys, as another program might write it."""
    example = Example()
    for name, values in lists.items():
        kind = {bytes: "bytes_list", float: "float_list", int: "int64_list"}[type(values[0])]
        getattr(example.features.feature[name.replace("__", "/")], kind).value.extend(values)
    return example.SerializeToString()


AUTOML = {
    "image__encoded": [b"photo"],
    "image__object__bbox__ymin": [0.25],
    "image__object__bbox__xmin": [0.5],
    "image__object__bbox__ymax": [0.75],
    "image__object__bbox__xmax": [1.0],
    "image__object__class__label": [3],
}


def test_tfrecord_reader_our_records_come_back(image: Callable, box_of: Callable) -> None:
    things = [box_of(2), box_of(7, is_crowd=True, box=(0, 0, 24, 32))]
    record = parse_record(encode_example(image(5, things)))
    assert record.source_id.numpy() == b"5"
    np.testing.assert_allclose(record.boxes_unit, [[0.25, 0.25, 0.75, 0.75], [0, 0, 1, 1]])
    np.testing.assert_array_equal(record.class_ids, [2, 7])
    np.testing.assert_array_equal(record.is_crowd, [False, True])
    np.testing.assert_array_equal(record.areas, [12 * 16, 24 * 32])
    assert (decode_record_image(record.encoded).numpy()[..., 0] == 5).all()


def test_tfrecord_reader_image_without_objects_has_no_rows(image: Callable) -> None:
    record = parse_record(encode_example(image(1)))
    assert record.boxes_unit.shape == (0, 4)
    assert record.class_ids.shape == record.is_crowd.shape == record.areas.shape == (0,)


def test_tfrecord_reader_records_may_lack_what_automl_leaves_out() -> None:
    record = parse_record(foreign_record(**AUTOML))
    np.testing.assert_array_equal(record.boxes_unit, [[0.25, 0.5, 0.75, 1.0]])
    np.testing.assert_array_equal(record.class_ids, [3])
    np.testing.assert_array_equal(record.is_crowd, [False])
    np.testing.assert_array_equal(record.areas, [0.0])


def test_tfrecord_reader_area_that_is_a_share_of_the_image_is_not_believed() -> None:
    assert parse_record(foreign_record(**AUTOML, image__object__area=[0.25])).areas.numpy() == [0.0]
    assert parse_record(foreign_record(**AUTOML, image__object__area=[900.0])).areas.numpy() == [900.0]


def test_tfrecord_reader_records_without_an_id_go_by_their_image() -> None:
    first, again = (parse_record(foreign_record(**AUTOML)).source_id.numpy() for _ in range(2))
    other = parse_record(foreign_record(**{**AUTOML, "image__encoded": [b"another"]})).source_id.numpy()
    assert first == again != other
    assert first.isdigit()


@pytest.mark.parametrize("extension", [".png", ".jpg", ".bmp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_tfrecord_reader_images_of_every_format_are_rgb(extension: str, channels: int) -> None:
    picture = np.full((8, 10, channels), 200, np.uint8)
    photo = decode_record_image(cv2.imencode(extension, picture)[1].tobytes())
    assert photo.dtype == tf.uint8
    assert photo.shape == (8, 10, 3)
    assert np.abs(photo.numpy().astype(int) - 200).max() <= 3


def test_tfrecord_reader_boxes_of_crowds_are_left_out(image: Callable, box_of: Callable) -> None:
    things = [box_of(1, is_crowd=True), box_of(2), box_of(3, is_crowd=True)]
    record = without_crowd(parse_record(encode_example(image(1, things))))
    np.testing.assert_array_equal(record.class_ids, [2])
    assert [part.shape[0] for part in (record.boxes_unit, record.is_crowd, record.areas)] == [1, 1, 1]


def test_tfrecord_reader_parsing_runs_inside_a_pipeline(image: Callable, box_of: Callable) -> None:
    serialized = [encode_example(image(1, [box_of(1, is_crowd=True), box_of(2)])), encode_example(image(2))]
    dataset = tf.data.Dataset.from_tensor_slices(serialized).map(lambda each: without_crowd(parse_record(each)))
    assert [len(record.class_ids) for record in dataset] == [1, 0]
