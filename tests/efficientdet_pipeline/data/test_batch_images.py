"""Images of a training step are those of its batch."""

import numpy as np
import pytest
import tensorflow as tf
from efficientdet.config import get_config

from efficientdet_pipeline.data.batch_images import first_images, images_of_step
from efficientdet_pipeline.data.input_pipeline import Augmenter, InputConfig, build_augmenter, training_batches
from efficientdet_pipeline.options.augmentation import AugmentationOptions
from efficientdet_pipeline.options.schema import compose
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.example import encode_example

SIZE = (20, 30)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("shards")
    names = []
    for shard in range(2):
        path = folder / f"train-{shard}.tfrecord"
        names.append(str(path))
        with tf.io.TFRecordWriter(str(path)) as writer:
            for number in range(shard * 4, shard * 4 + 4):
                # The colour of the image encodes its number.
                photo = tf.io.encode_png(tf.fill((*SIZE, 3), tf.cast(number * 10, tf.uint8))).numpy()
                things = (
                    AnnotatedObject("x", (1.0, 2.0, 5.0, 12.0), 1),
                    AnnotatedObject("x", (0.0, 0.0, 20.0, 40.0), 1),
                )
                image = AnnotatedImage(
                    filename=f"{number}.png",
                    objects=things[: number % 3],
                    height=SIZE[0],
                    width=SIZE[1],
                    encoded=photo,
                    format="png",
                    source_id=str(number),
                )
                writer.write(encode_example(image))
    return tuple(names)


def stream(files: tuple[str, ...], **more: bool) -> InputConfig:
    return InputConfig(files=files, batch_size=3, max_instances=2, canvas=SIZE, seed=5, **more)


def as_it_is() -> Augmenter:
    return Augmenter(
        lambda photo, partners, seed: (photo.image, tf.constant(SIZE), photo.boxes, photo.class_ids),
        lambda canvases, shown: tf.cast(canvases, tf.float32),
    )


@pytest.mark.parametrize("repeats", [False, True])
def test_batch_images_they_are_the_images_of_the_batch(files: tuple[str, ...], repeats: bool) -> None:
    batches = iter(training_batches(stream(files, repeat_first_batch=repeats), as_it_is()))
    for step in range(1, 5):
        images, _ = next(batches)
        given = [f"{round(float(image[0, 0, 0]) / 10)}.png" for image in images]
        told = images_of_step(stream(files, repeat_first_batch=repeats), 0, step)
        assert [each["image"] for each in told] == given


def test_batch_images_boxes_are_counted_and_measured(files: tuple[str, ...]) -> None:
    told = {photo["image"]: photo["boxes"] for step in (1, 2, 3) for photo in images_of_step(stream(files), 0, step)}
    assert told["0.png"] == {"count": 0, "shortest_side": 0.0, "longest_side": 0.0, "outside": 0}
    assert told["1.png"] == {"count": 1, "shortest_side": 4.0, "longest_side": 10.0, "outside": 0}
    assert told["5.png"] == {"count": 2, "shortest_side": 4.0, "longest_side": 40.0, "outside": 1}


def test_batch_images_partners_are_named(files: tuple[str, ...]) -> None:
    (first, *_) = images_of_step(stream(files), 3, 1)
    assert len(first["may_be_mixed_with"]) == 3
    assert first["image"] not in first["may_be_mixed_with"]


def test_first_images_are_those_of_the_first_batch(files: tuple[str, ...]) -> None:
    config = get_config("efficientdet-lite0", image_size=64, num_classes=2)
    stream = InputConfig(files=files, batch_size=4, max_instances=3, canvas=(64, 64), seed=7)
    augmenter = build_augmenter(compose(AugmentationOptions), config)
    drawn = first_images(stream, augmenter, 16)
    assert len(drawn) == 4
    assert len(first_images(stream, augmenter, 2)) == 2
    batch, truth = next(iter(training_batches(stream, augmenter)))
    for row, each in enumerate(drawn):
        height, width = each.pixels.shape[:2]
        shown = batch[row, :height, :width].numpy() * config.stddev_rgb + config.mean_rgb
        np.testing.assert_allclose(shown, each.pixels, atol=0.51)
        count = len(each.boxes)
        np.testing.assert_array_equal(truth.boxes[row, :count], each.boxes)
        assert (truth.boxes[row, count:].numpy() == -1).all()
