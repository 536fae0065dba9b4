"""Batches of records with semantic maps; order and augmentation are functions of seed and position."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from efficientdet.imagenet import imagenet_config
from PIL import Image

from efficientdet_pipeline.augment.semantic_map import SemanticAugmentConfig
from efficientdet_pipeline.data.semantic_batches import (
    SemanticClasses,
    evaluation_semantic_images,
    parse_semantic_record,
    training_semantic_batches,
)
from tfrmod.annotated_image import AnnotatedImage
from tfrmod.example import encode_example
from tfrmod.masks import array_png

LITE = imagenet_config("efficientnet-lite0")
AUGMENT = SemanticAugmentConfig(canvas_size=(32, 32), jitter_min=1.0, jitter_max=1.5)


def record(number: int, *, value: int = 1, size: tuple[int, int] = (24, 32), has_map: bool = True) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (32, 24), (number, number, number)).save(out, "PNG")
    values = np.full(size, value, np.uint8)
    values[:4], values[4:6] = 0, 255
    return encode_example(
        AnnotatedImage(
            filename=f"{number}.png", height=24, width=32, encoded=out.getvalue(), format="png",
            segmentation=array_png(values) if has_map else b"",
        )
    )  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., list[str]]:
    def write(*records: bytes) -> list[str]:
        path = str(tmp_path / f"{len(records)}.tfrecord")
        with tf.io.TFRecordWriter(path) as writer:
            for each in records:
                writer.write(each)
        return [path]

    return write


def batches(files: list[str], count: int, **options: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    dataset = training_semantic_batches(
        files, AUGMENT, SemanticClasses(num_classes=2), LITE, batch_size=2, seed=3, **options
    )
    return [(images.numpy(), maps.numpy()) for images, maps in dataset.take(count)]


def test_training_semantic_batches_are_a_function_of_the_position(files: Callable) -> None:
    shards = files(*(record(number * 20) for number in range(5)))
    whole = batches(shards, 4)
    images, maps = whole[0]
    assert (images.shape, images.dtype) == ((2, 32, 32, 3), np.float32)
    assert (maps.shape, maps.dtype) == ((2, 32, 32), np.int32)
    assert set(np.unique(maps)) <= {0, 1, 255}
    for (one, one_map), (other, other_map) in zip(whole[2:], batches(shards, 2, position=4), strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one_map, other_map)
    # Padding has the mean colour, and is ignored.
    assert (images[maps == 255] == 0).all(axis=-1).any()


def test_evaluation_semantic_images_come_in_order_at_their_own_size(files: Callable) -> None:
    shards = files(*(record(number) for number in range(3)))
    found = list(evaluation_semantic_images(shards, SemanticClasses(num_classes=2), LITE, limit=2))
    assert [each.filename.numpy() for each in found] == [b"0.png", b"1.png"]
    assert found[1].image.shape == (1, 24, 32, 3)
    assert float(found[1].image[0, 0, 0, 0]) == pytest.approx((1 - 127) / 128)
    assert (found[1].source.numpy() == 1).all()


def test_semantic_classes_without_background_shift_and_ignore() -> None:
    classes = SemanticClasses(num_classes=150, has_background=False)
    values = tf.constant([[0, 1, 150, 255]], tf.uint8)
    assert classes.columns(values).numpy().tolist() == [[255, 0, 149, 255]]
    assert SemanticClasses(num_classes=2).columns(values) is values


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"has_map": False}, "A record has no semantic map"),
        ({"size": (12, 16)}, "must have its image's size"),
        ({"value": 2}, "ids beyond the 2 classes"),
    ],
)
def test_parse_semantic_record_refuses(given: dict, words: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=words):
        parse_semantic_record(record(7, **given), SemanticClasses(num_classes=2))
