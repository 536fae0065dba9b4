import numpy as np
import pytest
import tensorflow as tf
from efficientdet.config import DetectorConfig, get_config
from efficientdet.preprocess import canvas_batch, fit_boxes_to_canvas, fit_to_canvas, scaled_size
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

D0 = get_config("efficientdet-d0", image_size=64)


def random_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "canvas", "scaled"),
    [
        (480, 640, (512, 512), (384, 512)),
        (165, 100, (512, 512), (511, 310)),
        (32, 32, (64, 128), (64, 64)),
        (1, 5000, (512, 512), (1, 512)),
        (7, 7, (7, 7), (7, 7)),
    ],
)
def test_preprocess_images_are_scaled_to_fit(
    height: int, width: int, canvas: tuple[int, int], scaled: tuple[int, int]
) -> None:
    _, scaled_height, scaled_width = scaled_size(height, width, canvas)
    assert (int(scaled_height), int(scaled_width)) == scaled


def test_preprocess_image_of_the_canvas_size_is_only_normalised() -> None:
    image = random_image(64, 64)
    canvas, scale = fit_to_canvas(image, D0)
    np.testing.assert_allclose(canvas, (image - np.float32(D0.mean_rgb)) / np.float32(D0.stddev_rgb), atol=1e-5)
    assert float(scale) == 1.0


def test_preprocess_rest_of_the_canvas_is_the_mean_colour() -> None:
    canvas, scale = fit_to_canvas(random_image(32, 128), D0)
    assert canvas.shape == (64, 64, 3)
    assert canvas.dtype == tf.float32
    assert float(scale) == 2.0
    assert not canvas[16:].numpy().any()
    assert canvas[:16].numpy().any()


def test_preprocess_scale_range_reaches_the_padding_too() -> None:
    config = get_config("efficientdet-d0", image_size=64, mean_rgb=0.0, stddev_rgb=1.0, scale_range=True)
    image = random_image(32, 64)
    canvas, _ = fit_to_canvas(image, config)
    np.testing.assert_allclose(canvas[:32], image * 2.0 / 255.0 - 1.0, atol=1e-5)
    assert (canvas[32:].numpy() == -1.0).all()


def test_preprocess_floats_are_taken_as_they_are() -> None:
    image = random_image(50, 30)
    first, second = fit_to_canvas(image, D0)[0], fit_to_canvas(image.astype(np.float32), D0)[0]
    np.testing.assert_array_equal(first, second)


def test_preprocess_batch_holds_what_single_images_hold() -> None:
    images = np.stack([random_image(40, 70, seed) for seed in range(3)])
    canvases, scales = canvas_batch(images, D0)
    assert canvases.shape == (3, 64, 64, 3)
    assert scales.shape == (3,)
    for image, canvas, scale in zip(images, canvases, scales, strict=True):
        alone, scale_alone = fit_to_canvas(image, D0)
        np.testing.assert_array_equal(canvas, alone)
        assert float(scale) == float(scale_alone)


def test_preprocess_serving_is_traced_once_for_any_number_and_size() -> None:
    function = serving(D0)
    for shape in ((1, 40, 70), (4, 40, 70), (2, 100, 30)):
        canvases, scales = function(tf.zeros((*shape, 3), tf.uint8))
        assert canvases.shape == (shape[0], 64, 64, 3)
        assert scales.shape == (shape[0],)
    assert function.experimental_get_tracing_count() == 1
    assert function.get_concrete_function().output_shapes[0].as_list() == [None, 64, 64, 3]


def test_preprocess_serving_can_be_frozen() -> None:
    images = np.stack([random_image(40, 70, seed) for seed in range(2)])
    frozen = convert_variables_to_constants_v2(serving(D0).get_concrete_function())
    for expected, received in zip(canvas_batch(images, D0), frozen(tf.constant(images)), strict=True):
        np.testing.assert_allclose(expected, received, atol=1e-6)


def test_preprocess_boxes_are_scaled_with_their_image() -> None:
    boxes = fit_boxes_to_canvas(np.float32([[0, 0, 0.5, 0.5], [0, 0, 1, 1]]), (32, 128, 3), D0)
    np.testing.assert_allclose(boxes, [[0, 0, 8, 32], [0, 0, 16, 63]])
    assert fit_boxes_to_canvas(np.zeros((0, 4), np.float32), (32, 128), D0).shape == (0, 4)


def test_preprocess_preprocessing_gives_the_same_in_a_data_pipeline() -> None:
    image = random_image(90, 33)
    dataset = tf.data.Dataset.from_tensors(image).map(lambda image: fit_to_canvas(image, D0))
    canvas, scale = next(iter(dataset))
    eager, eager_scale = fit_to_canvas(image, D0)
    np.testing.assert_allclose(canvas, eager, atol=1e-6)
    assert float(scale) == float(eager_scale)


def serving(config: DetectorConfig) -> tf.types.experimental.PolymorphicFunction:
    return tf.function(
        lambda images: canvas_batch(images, config),
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)],
        autograph=False,
    )
