"""Batches with boxes and maps: maps painted from masks, and both under the same changes."""

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tiny_network import tiny_config

from efficientdet_pipeline.augment.semantic_map import SemanticAugmentConfig
from efficientdet_pipeline.data.box_map_batches import (
    evaluation_box_map_images,
    has_masks,
    painted_map,
    training_box_map_batches,
)
from efficientdet_pipeline.data.input_pipeline import InputConfig
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.example import encode_example
from tfrmod.masks import array_png

CONFIG = tiny_config(heads=["object_detection", "segmentation"], seg_num_classes=3)
AUGMENT = SemanticAugmentConfig(canvas_size=CONFIG.image_size, jitter_min=0.6, jitter_max=1.6)
BOX = (8, 12, 24, 40)


def record(number: int, *, has_mask: bool = True) -> bytes:
    """Returns a black image of 40 x 48 pixels with a white rectangle, the object of class 2."""
    pixels, mask = np.zeros((40, 48, 3), np.uint8), np.zeros((40, 48), np.uint8)
    y0, x0, y1, x1 = BOX
    pixels[y0:y1, x0:x1], mask[y0:y1, x0:x1] = 255, 1
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    thing = AnnotatedObject(name="b", box=BOX, class_id=2, mask=array_png(mask) if has_mask else b"")
    return encode_example(
        AnnotatedImage(
            filename=f"{number}.png", height=40, width=48, encoded=out.getvalue(), format="png", objects=(thing,),
            source_id=str(number),
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("records") / "train-0.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for number in range(4):
            writer.write(record(number))
    return path


def batches(file: str, count: int, position: int = 0) -> list[tuple[np.ndarray, ...]]:
    stream = InputConfig(files=(file,), batch_size=2, max_instances=3, canvas=CONFIG.image_size, seed=5)
    dataset = training_box_map_batches(stream, AUGMENT, CONFIG, min_visibility=0.0, position=position)
    return [(images.numpy(), *(each.numpy() for each in truth)) for images, truth in dataset.take(count)]


def test_training_box_map_batches_move_image_boxes_and_map_together(file: str) -> None:
    for images, boxes, class_ids, maps in batches(file, 4):
        for image, box, class_id, own in zip(images, boxes, class_ids, maps, strict=True):
            assert (image.shape, own.shape) == ((64, 64, 3), (64, 64))
            assert set(np.unique(own)) <= {0, 2, 255}
            rows, columns = np.nonzero(own == 2)
            if class_id[0] != 2:
                assert not len(rows)
                continue
            found = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
            assert np.abs(np.array(found) - box[0]).max() <= 1.5
            assert image[own == 2].mean() > 0.5 > image[own == 0].mean()
    # Padding does not count.
    assert any((maps == 255).any() for *_, maps in batches(file, 4))


def test_training_box_map_batches_continue_where_they_were_left(file: str) -> None:
    whole, rest = batches(file, 3), batches(file, 1, position=4)
    for before, after in zip(whole[2], rest[0], strict=True):
        np.testing.assert_array_equal(before, after)


def test_evaluation_box_map_images_fit_the_canvas(file: str) -> None:
    images = list(evaluation_box_map_images([file], CONFIG))
    assert len(images) == 4
    assert images[0].image.shape == (1, 64, 64, 3)
    own = images[0].semantic_map.numpy()
    assert (own[53:] == 255).all()
    assert (own[14:30, 18:50] == 2).all()
    assert len(list(evaluation_box_map_images([file], CONFIG, numbers=[1]))) == 1


def test_painted_map_lets_small_objects_cover_large_ones_and_ignores_boxes_without_mask() -> None:
    large, small, nothing = np.zeros((3, 6, 8), np.uint8)
    large[:4, :6], small[1:3, 1:3] = 1, 1
    masks = tf.constant([array_png(small), array_png(large), array_png(nothing)])
    boxes = tf.constant([[1.0, 1, 3, 3], [0, 0, 4, 6], [3, 5, 6, 8]])
    found = painted_map(masks, tf.constant([1, 2, 3]), boxes, tf.constant([6, 8])).numpy()
    assert (found[1:3, 1:3] == 1).all()
    assert (found[0, :6].tolist(), found[3, 5], found[3, 6], found[5, 0]) == ([2] * 6, 2, 255, 0)
    none = painted_map(tf.constant([], tf.string), tf.zeros(0, tf.int32), tf.zeros((0, 4)), tf.constant([2, 3]))
    assert none.numpy().tolist() == [[0] * 3] * 2


def test_has_masks_looks_into_the_records(file: str, tmp_path: Path) -> None:
    path = str(tmp_path / "without")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(record(0, has_mask=False))
    assert has_masks([path, file])
    assert not has_masks([path])
