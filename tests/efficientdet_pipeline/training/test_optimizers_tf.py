"""Optimizers with fused operations: the same numbers and the same slots as Keras's."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from efficientdet_pipeline.training import optimizers_tf

SHAPES = ((3, 3, 2, 4), (5,), ())
OPTIMIZERS = {
    "sgd": lambda kinds, rate: kinds.SGD(rate, momentum=0.9, name="optimizer"),
    "adam": lambda kinds, rate: kinds.Adam(rate, beta_1=0.8, name="optimizer"),
    "amsgrad": lambda kinds, rate: kinds.Adam(rate, amsgrad=True, name="optimizer"),
    "adamw": lambda kinds, rate: kinds.AdamW(rate, weight_decay=0.1, name="optimizer"),
}


def trained(make: Callable[..., Any], kinds: Any, dtype: str = "float32", *, steps: int = 300) -> tuple[Any, list[Any]]:
    """Returns an optimizer after some steps inside a condition, as in the train step, and its variables."""
    random = np.random.default_rng(0)
    variables = [keras.Variable(random.normal(size=shape), dtype=dtype, name="kernel") for shape in SHAPES]
    optimizer = make(kinds, keras.optimizers.schedules.InverseTimeDecay(0.01, 10, 0.1))
    optimizer.build(variables)

    @tf.function
    def step(gradients: list[tf.Tensor]) -> None:
        def update() -> tf.Tensor:
            optimizer.apply(gradients, variables)
            return tf.constant(True)

        tf.cond(tf.math.is_finite(gradients[2]), update, lambda: tf.constant(False))

    for number in range(steps):
        # Gradients of several magnitudes, and none for a while.
        scale = 0.0 if 20 <= number < 40 else 10.0 ** (number % 5 - 3)
        step([tf.constant(random.normal(0.2, 1.0, shape) * scale, tf.float32) for shape in SHAPES])
    return optimizer, variables


@pytest.mark.parametrize(
    ("name", "dtype", "tolerance"),
    [
        # In float32, 1 - 0.999 is 1.3e-5 smaller than 0.001.
        *((name, "float32", 2e-5) for name in OPTIMIZERS),
        *(("adam", dtype, 0.0) for dtype in ("float16", "bfloat16", "float64")),
    ],
)
def test_optimizers_give_the_numbers_and_slots_of_keras(name: str, dtype: str, tolerance: float) -> None:
    ours, variables = trained(OPTIMIZERS[name], optimizers_tf, dtype)
    theirs, expected = trained(OPTIMIZERS[name], keras.optimizers, dtype)
    assert isinstance(ours, type(theirs))
    assert [each.name for each in ours.variables] == [each.name for each in theirs.variables]
    for given, wanted in zip([*variables, *ours.variables], [*expected, *theirs.variables], strict=True):
        values = [np.asarray(each.numpy(), "float64") for each in (given, wanted)]
        np.testing.assert_allclose(*values, rtol=tolerance, atol=tolerance, err_msg=given.path)


def test_adam_corrects_the_bias_in_one_place() -> None:
    optimizer, variables = trained(OPTIMIZERS["adam"], optimizers_tf, steps=1)
    graph = tf.function(
        lambda: optimizer.apply([tf.ones(shape) for shape in SHAPES], variables)
    ).get_concrete_function()
    kinds = [operation.type for operation in graph.graph.get_operations()]
    assert kinds.count("ResourceApplyAdam") == len(SHAPES)
    assert kinds.count("Pow") == 2


TWO_DEVICES = """
import keras, numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
from efficientdet_pipeline.training.optimizers_tf import AdamW

def trained(strategy):
    with strategy.scope():
        variables = [keras.Variable(np.arange(3.0), name="kernel"), keras.Variable(2.0, name="bias")]
        optimizer = AdamW(keras.optimizers.schedules.InverseTimeDecay(0.1, 10, 0.5), weight_decay=0.1)
        optimizer.build(variables)
    share = 1.0 / strategy.num_replicas_in_sync

    @tf.function
    def step(gradient):
        strategy.run(lambda: optimizer.apply([gradient * share, gradient[0] * share], variables))

    for number in range(30):
        step(tf.constant([1.0, -2.0, 0.5 - number]))
    return [
        [copy.numpy() for copy in strategy.experimental_local_results(each.value)]
        for each in [*variables, *optimizer.variables]
    ]

for one, two in zip(trained(tf.distribute.get_strategy()), trained(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))):
    np.testing.assert_allclose(two, [one[0]] * len(two), rtol=1e-6)
"""


def test_adamw_on_two_devices_equals_one() -> None:
    result = subprocess.run([sys.executable, "-c", TWO_DEVICES], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
