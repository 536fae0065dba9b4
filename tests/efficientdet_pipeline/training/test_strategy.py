"""Distribution strategy: two devices take the same steps as one, and skip the same bad steps."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.training import strategy as devices

SCRIPT = Path(__file__).parent / "two_devices.py"


@pytest.fixture(scope="module")
def given() -> dict[str, Any]:
    """Returns the results of the script."""
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_strategy_of_two_devices_trains_as_one(given: dict[str, Any]) -> None:
    assert given["two"] == pytest.approx(given["one"], rel=1e-5)
    assert given["weights"] < 1e-5


@pytest.mark.parametrize("task", ["segmentation", "classification"])
def test_strategy_of_two_devices_trains_classes_as_one(given: dict[str, Any], task: str) -> None:
    one, two = given[task]
    assert two == pytest.approx(one, rel=1e-5)
    assert one[1] < one[0]


def test_strategy_of_two_devices_skips_a_bad_step_of_one_on_both(given: dict[str, Any]) -> None:
    good, bad, again = given["steps"]
    for step in (good, again):
        assert {name.split()[0] for name in step["changed"]} >= {"weight", "statistic", "average", "optimizer"}
        assert math.isfinite(step["logs"]["step_loss"])
    changed = {name.split()[2] for name in bad["changed"] if not name.startswith("metric ")}
    assert changed == {"iteration", "bad_steps", "bad_steps_total"}
    assert math.isnan(bad["logs"]["step_loss"])
    assert bad["logs"]["loss"] == 0.0  # No good step, so there is no mean.
    # Consecutive bad steps, all bad steps, and iterations, after the six steps before.
    assert [step["counted"] for step in given["steps"]] == [[0, 0, 7], [1, 1, 8], [0, 1, 9]]


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [
        ("tpu", "TensorFlow has no Cloud TPU support past 2.18"),
        ("multiworker", "Keras trains over several machines only on JAX"),
    ],
)
def test_strategy_names_the_backend_that_supports_it(strategy: str, reason: str) -> None:
    sentence = rf"strategy={strategy} needs the JAX backend: {reason}\. Received it on TensorFlow; add --backend=jax\."
    with pytest.raises(OptionsError, match=sentence) as refused:
        devices.init_process_group(strategy)
    assert refused.value.option == "strategy"


@pytest.mark.parametrize("strategy", ["", "gpus"])
def test_strategy_on_tensorflow_has_one_process(strategy: str) -> None:
    process_group = devices.init_process_group(strategy)
    assert (process_group.index, process_group.count, process_group.is_chief) == (0, 1, True)


def test_strategy_sums_gradients_in_a_fixed_order() -> None:
    # Otherwise the memory optimizer sums them in any order, and a resumed run differs in the last bit.
    devices.build_strategy(compose(TrainOptions, url_dataset="none"))
    settings = context.context().function_call_options.config_proto_serialized
    rewriting = tf.compat.v1.ConfigProto.FromString(settings).graph_options.rewrite_options
    assert rewriting.memory_optimization == rewriting.NO_MEM_OPT
    assert rewriting.meta_optimizer_iterations == rewriting.ONE
