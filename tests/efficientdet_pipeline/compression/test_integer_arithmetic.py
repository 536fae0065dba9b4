"""Integer arithmetic of int8 networks; `export/test_tflite_learnt.py` compares whole networks with TFLite's."""

import numpy as np
import pytest
import tensorflow as tf

from efficientdet_pipeline.compression.integer_arithmetic import (
    Grid,
    Whole,
    added,
    averaged,
    grid_of,
    requantized,
    rounded,
    whole_factor,
    whole_kernel,
)
from efficientdet_pipeline.export.tflite import without_notes

GRID = grid_of(tf.constant(-1.0), tf.constant(2.0))


def test_grid_of_moves_the_range_so_that_zero_is_on_it() -> None:
    scale, lowest, highest = (float(each) for each in GRID)
    assert scale == pytest.approx(3 / 255)
    assert (lowest, highest) == (-85, 170)
    x = tf.constant(np.random.default_rng(0).uniform(-2, 3, 50).astype("float32"))
    fake = tf.quantization.fake_quant_with_min_max_args(x, -1.0, 2.0)
    assert np.allclose(rounded(x, GRID).value, fake, atol=1e-6)


def test_rounded_multiplies_by_the_reciprocal_of_the_scale_as_xnnpack_does() -> None:
    # A pixel of value 188 in the range of a real training: 93.49999805 steps, and 93.5 as a product in float32.
    grid = grid_of(tf.constant(-0.36054688692092896), tf.constant(0.9391690492630005))
    assert float(rounded(tf.constant(0.4765625), grid).numbers) == 94


def test_requantized_rounds_half_to_even_and_fuses_relu() -> None:
    sums, unit = tf.constant([-3.0, 1.0, 3.0, 1000.0]), GRID.scale / 2
    assert requantized(sums, (unit,), GRID).numbers.numpy().tolist() == [-2, 0, 2, 170]
    assert requantized(sums, (unit,), GRID, "Relu").numbers.numpy().tolist() == [0, 0, 2, 170]
    wide = grid_of(tf.constant(0.0), tf.constant(12.0))
    assert float(requantized(sums, (wide.scale,), wide, "Relu6").numbers[-1]) == round(6 * 255 / 12)


def test_added_sums_tensors_of_other_scales() -> None:
    random = np.random.default_rng(0)
    first = Whole(tf.constant(random.integers(-128, 127, 99).astype("float32")), tf.constant(0.004, tf.float64))
    second = Whole(tf.constant(random.integers(-128, 127, 99).astype("float32")), tf.constant(0.011, tf.float64))
    expected = np.clip(np.floor((first.value + second.value) / float(GRID.scale) + 0.5), -85, 170)
    received = added(first, second, GRID).numbers.numpy()
    assert np.abs(received - expected).max() <= 1
    assert np.mean(received == expected) > 0.95


def test_whole_kernel_holds_integers_for_each_output_channel() -> None:
    kernel = np.random.default_rng(0).standard_normal((3, 3, 4, 2)).astype("float32")
    for kind, axes, shape in (("Conv2D", (0, 1, 2), (2,)), ("DepthwiseConv2dNative", (0, 1), (4, 2))):
        found = whole_kernel(kind, tf.constant(kernel))
        assert np.allclose(found.scale, (np.abs(kernel).max(axis=axes) / 127).ravel())
        assert np.array_equal(found.numbers, np.round(found.numbers))
        assert np.abs(found.numbers).max() == 127
        assert np.reshape(found.scale, shape).shape == shape


def test_whole_factor_is_the_end_of_a_range_that_begins_at_zero() -> None:
    for factor in (0.49997503, -3.0):
        found = whole_factor(tf.constant(factor))
        assert abs(float(found.numbers)) == 255
        assert float(found.value) == pytest.approx(factor, rel=1e-6)


def test_averaged_rounds_half_to_even_in_int8() -> None:
    # The zero point is 85 - 128 = -43: 0.5 is -42.5 there, which becomes -42, and 43.5 is 0.5, which becomes 0.
    means = tf.constant([0.5, 1.5, 43.5, 1000.0])
    assert averaged(means, GRID, GRID).numbers.numpy().tolist() == [1, 1, 43, 170]


@pytest.mark.parametrize("highest", [2.0, 0.7])
def test_averaged_rounds_as_litert_does(highest: float) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter")

    @tf.function(input_signature=[tf.TensorSpec((1, 4, 4, 64))], autograph=False)
    def mean(x: tf.Tensor) -> tf.Tensor:
        x = tf.quantization.fake_quant_with_min_max_args(x, -1.0, 2.0)
        x = tf.quantization.fake_quant_with_min_max_args(tf.reduce_mean(x, axis=(1, 2)), -1.0, highest)
        return x + 0.0

    converter = tf.lite.TFLiteConverter.from_concrete_functions([mean.get_concrete_function()], tf.Module())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    with without_notes():
        content = converter.convert()
    interpreter = litert.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    grid = grid_of(tf.constant(-1.0), tf.constant(highest))
    for seed in range(40):
        x = np.random.default_rng(seed).uniform(-1, 2, (1, 4, 4, 64)).astype("float32")
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        received = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        expected = averaged(tf.reduce_mean(rounded(tf.constant(x), GRID).numbers, axis=(1, 2)), GRID, grid)
        assert np.allclose(received, expected.value, atol=1e-6)


def test_averaged_adds_the_zero_points_before_it_rounds() -> None:
    # As LiteRT rounds them; products of means and scales are 25.5000008, 76.5000024 and 62.4999936.
    for sums, count, source, target, scales, expected in (
        (173, 16, -27, -60, (0.010445331, 0.004429025), 26),
        (519, 16, -27, -60, (0.010445331, 0.004429025), 76),
        (691, 16, -105, -65, (0.01213294081389904, 0.004109736531972885), 128),
    ):
        grids = [
            Grid(tf.constant(scale, tf.float64), tf.constant(-128.0 - zero), tf.constant(127.0 - zero))
            for scale, zero in zip(scales, (source, target), strict=True)
        ]
        assert averaged(tf.constant(sums / count), *grids).numbers.numpy() == expected, (sums, count)
