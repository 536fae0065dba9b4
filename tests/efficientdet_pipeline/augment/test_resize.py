"""Resizing to the canvas: automl's numbers, boxes, and padding with the mean colour."""

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_pipeline.augment.resize import (
    Window,
    crop_window,
    jitter_window,
    normalize,
    pad_to_canvas,
    resize_bilinear,
)
from efficientdet_pipeline.augment.sample import Sample

SEED = tf.constant([1, 2])


@pytest.mark.parametrize(
    ("photo", "canvas", "shown"),
    [
        ((480, 640), (512, 512), (384, 512)),
        ((165, 100), (512, 512), (511, 310)),
        ((480, 640), (256, 256), (192, 256)),
        ((10, 1000), (64, 64), (1, 64)),
        ((2000, 3), (64, 96), (64, 1)),
    ],
)
def test_resize_scale_one_is_the_evaluation_letterbox(
    photo: tuple[int, int], canvas: tuple[int, int], shown: tuple[int, int]
) -> None:
    window = jitter_window(tf.constant(photo), SEED, canvas_size=canvas, jitter_min=1.0, jitter_max=1.0)
    np.testing.assert_array_equal(window.source, [0, 0, *photo])
    np.testing.assert_array_equal(window.size, shown)


def test_resize_whole_image_is_resized_as_automl_does() -> None:
    image = np.random.RandomState(0).randint(0, 256, (48, 64, 3)).astype(np.uint8)
    sample = Sample(tf.constant(image), tf.constant([[12.0, 16.0, 24.0, 48.0]]), tf.constant([1]))
    window = jitter_window(tf.constant([48, 64]), SEED, canvas_size=(32, 32), jitter_min=1.0, jitter_max=1.0)
    shown = crop_window(sample, window, min_visibility=0.0)
    np.testing.assert_allclose(shown.image, tf.image.resize(image, (24, 32)), atol=0.5)
    np.testing.assert_allclose(shown.boxes, [[6, 8, 12, 24]])


def test_resize_windows_stay_inside_the_image_and_the_canvas() -> None:
    seeds = tf.stack([tf.fill((200,), 3), tf.range(200)], axis=1)
    photos = tf.constant([[120, 160], [31, 500], [700, 20], [64, 64]])

    def drawn(number: tf.Tensor) -> Window:
        return jitter_window(photos[number % 4], seeds[number], canvas_size=(64, 96), jitter_min=0.1, jitter_max=2.0)

    sources, sizes = next(iter(tf.data.Dataset.range(200).map(drawn).batch(200)))
    photo = photos.numpy()[np.arange(200) % 4]
    sources, sizes = sources.numpy(), sizes.numpy()
    assert (sources[:, :2] >= 0).all()
    assert (sources[:, 2:] <= photo).all()
    assert (sources[:, 2:] > sources[:, :2]).all()
    assert (sizes >= 1).all()
    assert (sizes <= (64, 96)).all()
    # The aspect ratio is kept except for rounding to integer pixels, half a pixel at either end.
    extent = sources[:, 2:] - sources[:, :2]
    scale = sizes / extent
    slack = scale.max(axis=1) * 1.01 * (1 / extent + 1 / sizes).sum(axis=1) + 1e-3
    assert (abs(scale[:, 0] - scale[:, 1]) <= slack).all()
    assert len(np.unique(sources, axis=0)) > 60


@pytest.mark.parametrize(("min_visibility", "kept"), [(0.0, [1, 2, 3]), (0.1, [1, 2]), (0.6, [2])])
def test_resize_boxes_are_clipped_and_slivers_dropped(min_visibility: float, kept: list[int]) -> None:
    sample = Sample(
        tf.zeros((100, 100, 3), tf.uint8),
        tf.constant([[10.0, 10.0, 30.0, 30.0], [40.0, 40.0, 50.0, 60.0], [0.0, 0.0, 21.0, 50.0], [0.0, 0.0, 9.0, 9.0]]),
        tf.constant([1, 2, 3, 4]),
    )
    window = Window(tf.constant([20, 20, 70, 70]), tf.constant([100, 100]))
    shown = crop_window(sample, window, min_visibility=min_visibility)
    np.testing.assert_array_equal(shown.class_ids, kept)
    expected = {1: [0, 0, 20, 20], 2: [40, 40, 60, 80], 3: [0, 0, 2, 60]}
    np.testing.assert_allclose(shown.boxes, [expected[class_id] for class_id in kept], atol=1e-4)


def test_resize_padding_lies_right_and_below() -> None:
    sample = Sample(tf.fill((3, 4, 3), tf.constant(9, tf.uint8)), tf.zeros((0, 4)), tf.zeros((0,), tf.int32))
    canvas = pad_to_canvas(sample, (5, 6))
    assert canvas.image.shape == (5, 6, 3)
    np.testing.assert_array_equal(canvas.valid_size, [3, 4])
    assert (canvas.image[:3, :4].numpy() == 9).all()
    assert canvas.image.numpy().sum() == 9 * 3 * 4 * 3


@pytest.mark.parametrize("scale_range", [False, True])
@pytest.mark.parametrize(
    ("mean", "std"), [((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)), (127.0, 128.0), (0, 1)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_resize_normalize_pads_with_the_mean_color(scale_range: bool, mean: object, std: object, dtype: type) -> None:
    images = np.random.RandomState(0).randint(0, 256, (2, 5, 6, 3)).astype(dtype)
    sizes = np.array([[3, 6], [5, 2]], np.int32)
    expected = np.zeros(images.shape)
    for number, (rows, columns) in enumerate(sizes):
        expected[number, :rows, :columns] = (images[number, :rows, :columns] - np.array(mean)) / np.array(std)
    if scale_range:
        expected = expected * 2 / 255 - 1
    batch = normalize(tf.constant(images), tf.constant(sizes), mean=mean, std=std, scale_range=scale_range)
    assert batch.dtype == tf.float32
    np.testing.assert_allclose(batch, expected, atol=1e-5)
    single = normalize(tf.constant(images[1]), tf.constant(sizes[1]), mean=mean, std=std, scale_range=scale_range)
    np.testing.assert_allclose(single, expected[1], atol=1e-5)


def test_resize_float_images_stay_float() -> None:
    sample = Sample(tf.fill((8, 8, 3), 0.25), tf.zeros((0, 4)), tf.zeros((0,), tf.int32))
    shown = crop_window(sample, Window(tf.constant([0, 0, 8, 8]), tf.constant([5, 5])), min_visibility=0.1)
    np.testing.assert_allclose(shown.image, np.full((5, 5, 3), 0.25))


def test_jitter_window_stretches_to_the_canvas() -> None:
    window = jitter_window(
        tf.constant([48, 200]), SEED, canvas_size=(32, 64), jitter_min=1.0, jitter_max=1.0, keeps_proportions=False
    )
    assert window.source.numpy().tolist() == [0, 0, 48, 200]
    assert window.size.numpy().tolist() == [32, 64]
    smaller = jitter_window(
        tf.constant([48, 200]), SEED, canvas_size=(32, 64), jitter_min=0.5, jitter_max=0.5, keeps_proportions=False
    )
    assert smaller.size.numpy().tolist() == [16, 32]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("size", [(90, 100), (48, 64), (20, 21), (3, 200), (1, 1)])
def test_resize_bilinear_has_the_numbers_of_tensorflow(size: tuple[int, int], dtype: type) -> None:
    image = np.random.RandomState(0).randint(0, 256, (48, 64, 3)).astype(dtype)
    np.testing.assert_array_equal(resize_bilinear(tf.constant(image), tf.constant(size)), tf.image.resize(image, size))
