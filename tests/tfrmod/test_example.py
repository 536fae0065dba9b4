from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from tfrmod import example
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.errors import DatasetError
from tfrmod.masks import array_png

THINGS = (
    AnnotatedObject("cat", (10, 20, 30, 60), class_id=1, difficult=True, view="Left"),
    AnnotatedObject("großer Hund", (0, 0, 100, 200), class_id=7, truncated=True, is_crowd=True, mask_area=99.5),
)


def image(objects: tuple[AnnotatedObject, ...] = THINGS) -> AnnotatedImage:
    return AnnotatedImage(
        filename="JPEGImages/ä.jpg",
        objects=objects,
        height=100,
        width=200,
        encoded=b"\xff\xd8pixels",
        format="jpeg",
        sha256="ab" * 32,
        source_id="17",
    )


def parse(record: bytes) -> dict[str, tf.Tensor]:
    """Reads a record as google/automl's TfExampleDecoder does."""
    text, floats, ints = tf.io.VarLenFeature(tf.string), tf.io.VarLenFeature(tf.float32), tf.io.VarLenFeature(tf.int64)
    features = {
        "image/encoded": tf.io.FixedLenFeature((), tf.string),
        "image/source_id": tf.io.FixedLenFeature((), tf.string, ""),
        "image/height": tf.io.FixedLenFeature((), tf.int64, -1),
        "image/width": tf.io.FixedLenFeature((), tf.int64, -1),
        "image/object/class/label": ints,
        "image/object/area": floats,
        "image/object/is_crowd": ints,
        "image/object/class/text": text,
        "image/object/difficult": ints,
        "image/object/truncated": ints,
        "image/object/view": text,
        "image/filename": text,
        "image/format": text,
        "image/key/sha256": text,
    } | {f"image/object/bbox/{side}": floats for side in ("xmin", "xmax", "ymin", "ymax")}
    parsed = tf.io.parse_single_example(record, features)
    return {
        key: tf.sparse.to_dense(value) if isinstance(value, tf.SparseTensor) else value for key, value in parsed.items()
    }


def test_example_automls_reader_gets_every_key_with_its_type() -> None:
    parsed = parse(example.encode_example(image()))
    assert parsed["image/encoded"] == b"\xff\xd8pixels"
    assert parsed["image/source_id"] == b"17"
    assert (parsed["image/height"], parsed["image/width"]) == (100, 200)
    expected = {"ymin": [0.1, 0], "xmin": [0.1, 0], "ymax": [0.3, 1], "xmax": [0.3, 1]}
    for side, values in expected.items():
        assert parsed[f"image/object/bbox/{side}"].numpy() == pytest.approx(values)
    assert parsed["image/object/class/label"].numpy().tolist() == [1, 7]
    assert parsed["image/object/class/text"].numpy()[1].decode() == "großer Hund"
    assert parsed["image/object/area"].numpy().tolist() == [800, 99.5]
    assert parsed["image/object/is_crowd"].numpy().tolist() == [0, 1]
    assert parsed["image/object/difficult"].numpy().tolist() == [1, 0]
    assert parsed["image/object/truncated"].numpy().tolist() == [0, 1]
    assert parsed["image/format"].numpy().tolist() == [b"jpeg"]


def test_example_image_without_objects_parses_to_none() -> None:
    parsed = parse(example.encode_example(image(())))
    assert parsed["image/object/class/label"].shape == (0,)
    assert parsed["image/object/bbox/ymin"].shape == (0,)


def test_example_record_comes_back_as_it_went_in() -> None:
    back = example.decode_example(example.encode_example(image()))
    assert back.filename == "JPEGImages/ä.jpg"
    assert (back.height, back.width, back.encoded, back.format) == (100, 200, b"\xff\xd8pixels", "jpeg")
    assert [thing.name for thing in back.objects] == ["cat", "großer Hund"]
    assert back.objects[0].box == pytest.approx((10, 20, 30, 60), abs=1e-4)
    assert (back.objects[0].difficult, back.objects[0].view, back.objects[1].is_crowd) == (True, "Left", True)
    assert back.objects[1].area == 99.5


def test_example_record_of_tensorflow_without_our_extras_is_read() -> None:
    features = {
        "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"x"])),
        "image/object/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[90])),
    } | {
        f"image/object/bbox/{side}": tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
        for side, value in {"ymin": 0.0, "xmin": 0.25, "ymax": 0.5, "xmax": 1.0}.items()
    }
    record = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    thing = example.decode_example(record).objects[0]
    assert (thing.class_id, thing.name, thing.box) == (90, "", (0.0, 0.25, 0.5, 1.0))
    negative = tf.train.Example(features=tf.train.Features(feature={"image/encoded": features["image/encoded"]}))
    assert example.decode_example(negative.SerializeToString()).objects == ()


def test_example_bytes_are_the_same_each_time() -> None:
    assert example.encode_example(image()) == example.encode_example(image())


def test_example_what_is_no_example_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"not a tf\.train\.Example"):
        example.decode_example(b"\xff\xff\xff")


def test_example_lists_of_different_length_are_refused() -> None:
    message = example.Example()
    message.features.feature["image/object/class/label"].int64_list.value.extend([1, 2])
    with pytest.raises(DatasetError, match="2 labels but 0 values of image/object/bbox/ymin"):
        example.decode_example(message.SerializeToString())


def test_example_masks_are_read_as_google_automl_reads_them_and_come_back() -> None:
    mask = np.zeros((100, 200), np.uint8)
    mask[10:30, 20:60] = 1
    things = (THINGS[0]._replace(mask=array_png(mask)), THINGS[1])
    record = example.encode_example(replace(image(things), segmentation=array_png(mask * 7)))
    features = {
        "image/object/mask": tf.io.VarLenFeature(tf.string),
        "image/segmentation/class/encoded": tf.io.FixedLenFeature((), tf.string),
        "image/segmentation/class/format": tf.io.FixedLenFeature((), tf.string),
    }
    parsed = tf.io.parse_single_example(record, features)
    pictures = [tf.io.decode_png(data, channels=1)[..., 0] for data in parsed["image/object/mask"].values]
    np.testing.assert_array_equal(pictures, [mask, np.zeros_like(mask)])
    np.testing.assert_array_equal(tf.io.decode_png(parsed["image/segmentation/class/encoded"])[..., 0], mask * 7)
    assert parsed["image/segmentation/class/format"] == b"png"
    back = example.decode_example(record)
    assert back.objects[0].mask == things[0].mask
    assert back.segmentation == array_png(mask * 7)
    assert example.encode_example(back.with_class_ids({"cat": 1, "großer Hund": 7})) == record


def test_example_without_masks_the_keys_are_not_there() -> None:
    message = example.Example.FromString(example.encode_example(image()))
    assert not [key for key in message.features.feature if "mask" in key or "segmentation" in key]
