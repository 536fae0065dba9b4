"""Tests of resize=stretch: images and their boxes."""

import numpy as np
import tensorflow as tf
from efficientdet.config import get_config
from efficientdet.postprocess import detections
from efficientdet.preprocess import canvas_batch, fit_boxes_to_canvas, fit_to_canvas, per_corner

CONFIG = get_config("efficientdet-lite0", image_size="96x64", num_classes=1, resize="stretch")


def test_fit_to_canvas_stretches_both_sides() -> None:
    image = np.full((200, 50, 3), 255, np.uint8)
    canvas, scale = fit_to_canvas(tf.constant(image), CONFIG)
    np.testing.assert_allclose(canvas, np.full((64, 96, 3), 1.0), atol=1e-6)
    np.testing.assert_allclose(scale, [200 / 64, 50 / 96])
    np.testing.assert_allclose(per_corner(scale), [200 / 64, 50 / 96] * 2)
    assert per_corner(tf.constant(2.0)).shape == ()
    boxes = fit_boxes_to_canvas(tf.constant([[0.25, 0.5, 0.5, 0.75]]), tf.shape(image), CONFIG)
    np.testing.assert_allclose(boxes, [[16, 48, 32, 72]])


def test_detections_go_back_to_the_image() -> None:
    images = tf.zeros((2, 200, 50, 3), tf.uint8)
    _, scales = canvas_batch(images, CONFIG)
    outputs = {
        "class": {level: tf.fill((2, -(-64 // 2**level), -(-96 // 2**level), 9), -9.0) for level in CONFIG.levels},
        "box": {level: tf.zeros((2, -(-64 // 2**level), -(-96 // 2**level), 36)) for level in CONFIG.levels},
    }
    on_canvas, on_image = (detections(CONFIG, outputs, each).boxes.numpy() for each in (None, scales))
    np.testing.assert_allclose(on_image, on_canvas * np.array([200 / 64, 50 / 96] * 2), rtol=1e-5)


def test_to_hparams_names_the_resize_that_automl_does_not_know() -> None:
    assert CONFIG.to_hparams()["resize"] == "stretch"
    assert "resize" not in get_config("efficientdet-lite0").to_hparams()
    assert get_config("efficientdet-lite0").override(CONFIG.to_hparams()).resize == "stretch"
