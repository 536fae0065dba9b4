"""Tests of layers against automl's values, in training too, for fast and plain implementations."""

import subprocess
import sys
from collections.abc import Callable

import keras
import numpy as np
import pytest
from efficientdet.activations import ACTIVATIONS
from efficientdet.layers import (
    BatchNormalization,
    DropPath,
    NumpyInitializer,
    Resample,
    conv3x3,
    max_pooled,
    nearest_upsampled,
    uniform_of,
)
from keras import ops

MAPS = np.random.RandomState(0).normal(3, 2, (2, 3, 5, 4)).astype(np.float32)

FIRST_NUMBERS = [0.19908643, 0.31652009, 0.42336541, 0.61161268]


@pytest.fixture(params=["fused kernel", "separate operations"])
def norm(request: pytest.FixtureRequest) -> BatchNormalization:
    layer = BatchNormalization()
    layer.synchronized = request.param == "separate operations"
    layer.build(MAPS.shape)
    layer.gamma.assign([1.0, 2.0, -1.0, 0.5])
    layer.beta.assign([0.0, 1.0, 2.0, 3.0])
    return layer


def test_layers_normalisation_by_the_batch(norm: BatchNormalization) -> None:
    gamma, beta = norm.gamma.numpy(), norm.beta.numpy()
    expected = (MAPS - MAPS.mean((0, 1, 2))) / np.sqrt(MAPS.var((0, 1, 2)) + 1e-3) * gamma + beta
    np.testing.assert_allclose(ops.convert_to_numpy(norm(MAPS, training=True)), expected, atol=1e-5)
    np.testing.assert_allclose(norm.moving_mean.numpy(), 0.01 * MAPS.mean((0, 1, 2)), rtol=1e-5)
    # The moving variance takes the unbiased variance, the normalisation the biased one.
    unbiased = MAPS.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(norm.moving_variance.numpy(), 0.99 + 0.01 * unbiased, rtol=1e-6)


def test_layers_normalisation_by_moving_statistics(norm: BatchNormalization) -> None:
    norm.moving_mean.assign([1.0, 2.0, 3.0, 4.0])
    norm.moving_variance.assign([1.0, 4.0, 9.0, 0.25])
    mean, variance = norm.moving_mean.numpy(), norm.moving_variance.numpy()
    expected = (MAPS - mean) / np.sqrt(variance + 1e-3) * norm.gamma.numpy() + norm.beta.numpy()
    np.testing.assert_allclose(ops.convert_to_numpy(norm(MAPS, training=False)), expected, atol=1e-5)
    # A frozen layer keeps its statistics while the rest is trained.
    norm.trainable = False
    np.testing.assert_allclose(ops.convert_to_numpy(norm(MAPS, training=True)), expected, atol=1e-5)
    np.testing.assert_array_equal(norm.moving_mean.numpy(), mean)


@pytest.mark.parametrize("training", [False, True])
def test_layers_normalisation_takes_a_bias_and_a_factor(norm: BatchNormalization, training: bool) -> None:
    bias, factor = np.array([[5.0, -3.0, 0.0, 1.0], [0.5, 2.0, 0.0, 1.0]], np.float32)
    plain = BatchNormalization()
    plain.build(MAPS.shape)
    for ours, theirs in zip(plain.weights, norm.weights, strict=True):
        ours.assign(theirs.value)
    expected = factor * ops.convert_to_numpy(plain(MAPS + bias, training=training))
    received = norm(MAPS, training=training, bias=ops.convert_to_tensor(bias), factor=ops.convert_to_tensor(factor))
    np.testing.assert_allclose(ops.convert_to_numpy(received), expected, atol=2e-5)
    for ours, theirs in zip(plain.weights, norm.weights, strict=True):
        np.testing.assert_allclose(theirs.numpy(), ours.numpy(), atol=1e-5)


def test_layers_batch_of_one_value_has_a_finite_variance(norm: BatchNormalization) -> None:
    norm(MAPS[:1, :1, :1], training=True)
    assert np.isfinite(norm.moving_variance.numpy()).all()


def test_layers_normalisation_in_half_precision_keeps_float32_statistics() -> None:
    layer = BatchNormalization(dtype="mixed_bfloat16")
    layer.build(MAPS.shape)
    assert layer(ops.cast(MAPS, "bfloat16"), training=True).dtype == "bfloat16"
    assert {weight.dtype for weight in layer.weights} == {"float32"}
    np.testing.assert_allclose(layer.moving_mean.numpy(), 0.01 * MAPS.mean((0, 1, 2)), rtol=1e-2)


@pytest.mark.parametrize("act_type", ACTIVATIONS)
def test_activations(act_type: str) -> None:
    x = np.linspace(-9, 9, 37, dtype=np.float64)
    sigmoid = 1 / (1 + np.exp(-x))
    smoothness = 20.0**4
    formulas = {
        "hswish": x * np.clip(x + 3, 0, 6) / 6,
        "relu": np.maximum(x, 0),
        "relu6": np.clip(x, 0, 6),
        "mish": x * np.tanh(np.log1p(np.exp(x))),
        "srelu": np.where(x > 0, x - np.log1p(smoothness * np.maximum(x, 0)) / smoothness, 0),
    }
    computed = ops.convert_to_numpy(ACTIVATIONS[act_type](ops.convert_to_tensor(x.astype(np.float32))))
    np.testing.assert_allclose(computed, formulas.get(act_type, x * sigmoid), atol=2e-6)


def gradient_of(activation: Callable, x: np.ndarray) -> np.ndarray:
    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(lambda values: activation(values).sum())(jax.numpy.asarray(x)))
    import tensorflow as tf

    variable = tf.Variable(x)
    with tf.GradientTape() as tape:
        y = activation(tf.convert_to_tensor(variable))
    return tape.gradient(y, variable).numpy()


@pytest.mark.parametrize("act_type", ["swish", "srelu"])
def test_gradient_of_an_activation(act_type: str) -> None:
    x = np.concatenate([[-50.0, 0.0, 50.0], np.linspace(-4, 4, 9)])
    sigmoid = 1 / (1 + np.exp(-x))
    steep = 20.0**4 * np.maximum(x, 0)
    formulas = {"swish": sigmoid * (1 + x * (1 - sigmoid)), "srelu": steep / (1 + steep)}
    gradient = gradient_of(ACTIVATIONS[act_type], x.astype(np.float32))
    np.testing.assert_allclose(gradient, formulas[act_type], atol=1e-5)


def test_layers_random_numbers_are_a_function_of_their_arguments() -> None:
    def drawn(seed: int, step: int, index: int) -> list[float]:
        return ops.convert_to_numpy(uniform_of(ops.convert_to_tensor([seed, step], "uint32"), index, 4)).tolist()

    # Recorded once: a later run, or another backend, must draw the same.
    assert drawn(1, 2, 3) == pytest.approx(FIRST_NUMBERS, abs=1e-7)
    others = [drawn(1, 2, 4), drawn(1, 3, 3), drawn(2, 2, 3), drawn(2, 1, 3)]
    assert len({tuple(numbers) for numbers in [*others, drawn(1, 2, 3)]}) == 5


def test_layers_random_numbers_are_even() -> None:
    numbers = np.stack([ops.convert_to_numpy(uniform_of([7, step], 5, 1000)) for step in range(20)])
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert numbers.mean() == pytest.approx(0.5, abs=0.01)
    assert np.histogram(numbers, 10, (0, 1))[0] == pytest.approx([2000] * 10, rel=0.1)
    assert abs(np.corrcoef(numbers[:-1].ravel(), numbers[1:].ravel())[0, 1]) < 0.03


def test_drop_path_keeps_the_mean_and_whole_samples() -> None:
    layer = DropPath(0.8, 3)
    ones = np.ones((4000, 1, 1, 2), np.float32)
    dropped = ops.convert_to_numpy(layer(ones, seed=[0, 9], training=True))
    assert set(np.unique(dropped)) == {0.0, np.float32(1.25)}
    assert (dropped[..., 0] == dropped[..., 1]).all()
    assert dropped.mean() == pytest.approx(1.0, abs=0.02)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(ones, seed=[0, 9], training=True)), dropped)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(ones, seed=[0, 9], training=False)), ones)


@pytest.mark.parametrize(
    ("have", "want"),
    [((2, 3), (4, 6)), ((4, 6), (7, 11)), ((3, 3), (5, 6)), ((2, 2), (2, 4)), ((1, 1), (3, 2)), ((5, 4), (5, 4))],
)
def test_layers_upsampling_repeats_neighbours(have: tuple[int, int], want: tuple[int, int]) -> None:
    x = np.random.RandomState(0).normal(size=(2, *have, 3)).astype(np.float32)
    rows = [index * have[0] // want[0] for index in range(want[0])]
    columns = [index * have[1] // want[1] for index in range(want[1])]
    grown = ops.convert_to_numpy(nearest_upsampled(ops.convert_to_tensor(x), want))
    np.testing.assert_array_equal(grown, x[:, rows][:, :, columns])


@pytest.mark.parametrize(
    ("have", "want"), [((4, 4), (2, 2)), ((5, 7), (3, 4)), ((9, 9), (2, 3)), ((2, 1), (1, 1)), ((27, 41), (4, 6))]
)
def test_layers_pooling_takes_maxima_and_pads_the_end(have: tuple[int, int], want: tuple[int, int]) -> None:
    x = -1 - np.random.RandomState(0).uniform(size=(1, *have, 1)).astype(np.float32)
    pooled = ops.convert_to_numpy(max_pooled(ops.convert_to_tensor(x), want))
    assert pooled.shape == (1, *want, 1)
    strides = [(side - 1) // goal + 1 for side, goal in zip(have, want, strict=True)]
    paddings = [
        max((goal - 1) * stride + stride + 1 - side, 0) // 2
        for side, goal, stride in zip(have, want, strides, strict=True)
    ]
    top, left = (slice(max(0, stride + 1 - padding)) for stride, padding in zip(strides, paddings, strict=True))
    assert pooled[0, 0, 0, 0] == x[0, top, left].max()


@pytest.mark.parametrize("conv_after_downsample", [False, True])
def test_layers_resampling_mixes_channels_only_where_they_differ(conv_after_downsample: bool) -> None:
    options = {"normalize": True, "conv_after_downsample": conv_after_downsample}
    same, other = Resample(4, **options), Resample(6, **options)
    for layer in (same, other):
        layer.build((None, None, None, 4))
    assert (len(same.weights), len(other.weights)) == (0, 6)
    assert other(MAPS, size=(2, 3)).shape == (2, 2, 3, 6)
    np.testing.assert_array_equal(ops.convert_to_numpy(same(MAPS, size=(3, 5))), MAPS)


def test_layers_kernels_are_drawn_as_automl_draws_them() -> None:
    shape = (3, 3, 64, 48)
    deviations = {
        ("normal", 2.0, "out"): np.sqrt(2 / (9 * 48)),
        ("truncated_normal", 1.0, "in"): np.sqrt(1 / (9 * 64)),
        ("uniform", 1.0, "average"): np.sqrt(2 / (9 * 112)),
        ("normal", 1e-4, "one"): 0.01,
    }
    for (distribution, variance, fan), deviation in deviations.items():
        kernel = ops.convert_to_numpy(NumpyInitializer(distribution, variance=variance, fan=fan)(shape))
        assert kernel.std() == pytest.approx(deviation, rel=0.02)
        assert abs(kernel.mean()) < 0.03 * deviation
        if distribution == "truncated_normal":
            assert np.abs(kernel).max() <= 2 * deviation / 0.8796 * 1.001


def test_layers_kernels_follow_the_seed_of_keras() -> None:
    kernels = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        layer = conv3x3(5, separable=True)
        layer.build((None, None, None, 4))
        kernels.append(layer.pointwise_kernel.numpy())
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert (kernels[0] != kernels[2]).any()


TWO_REPLICAS = """
import numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
from efficientdet.layers import BatchNormalization
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
maps = np.random.RandomState(0).normal(3, 2, (4, 8, 8, 3)).astype("float32")
with strategy.scope():
    norm = BatchNormalization()
    norm.build(maps.shape)
norm.synchronized = True
halves = strategy.experimental_distribute_values_from_function(
    lambda context: tf.constant(maps[2 * context.replica_id_in_sync_group :][:2])
)
parts = tf.function(lambda: strategy.run(lambda half: norm(half, training=True), (halves,)))()
values = np.concatenate([part.numpy() for part in strategy.experimental_local_results(parts)])
expected = (maps - maps.mean((0, 1, 2))) / np.sqrt(maps.var((0, 1, 2)) + 1e-3)
np.testing.assert_allclose(values, expected, atol=1e-5)
np.testing.assert_allclose(norm.moving_variance.numpy(), 0.99 + 0.01 * maps.var((0, 1, 2), ddof=1), rtol=1e-6)
"""


def test_layers_statistics_over_two_replicas() -> None:
    if keras.backend.backend() != "tensorflow":
        pytest.skip("on JAX a batch is one array over all devices")
    result = subprocess.run([sys.executable, "-c", TWO_REPLICAS], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
