"""Two devices that share a batch take the step that one would have taken, and leave the one that it would have left."""

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
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.training import strategy as devices

SCRIPT = Path(__file__).parent / "two_devices.py"

# What the script gave is looked at by one worker, so that it runs once.
pytestmark = pytest.mark.xdist_group("two_devices")


@pytest.fixture(scope="module")
def given() -> dict[str, Any]:
    """Returns what the script's process gave."""
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_two_devices_train_as_one(given: dict[str, Any]) -> None:
    assert given["two"] == pytest.approx(given["one"], rel=1e-5)
    assert given["weights"] < 1e-5


def test_a_bad_step_of_one_device_leaves_everything_but_its_place_as_it_was_on_both(given: dict[str, Any]) -> None:
    good, bad, again = given["steps"]
    for step in (good, again):
        assert {name.split()[0] for name in step["changed"]} >= {"weight", "statistic", "average", "optimizer"}
        assert math.isfinite(step["logs"]["step_loss"])
    changed = {name.split()[2] for name in bad["changed"] if not name.startswith("metric ")}
    assert changed == {"iteration", "bad_steps", "bad_steps_total"}
    assert math.isnan(bad["logs"]["step_loss"])
    assert bad["logs"]["loss"] == 0.0  # No step was good, so that there is no mean.
    # Bad steps in a row, bad steps in all, and the place in the data, after the six steps before.
    assert [step["counted"] for step in given["steps"]] == [[0, 0, 7], [1, 1, 8], [0, 1, 9]]


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [
        ("tpu", "TensorFlow has no Cloud TPU support past 2.18"),
        ("multiworker", "Keras trains over several machines on JAX alone"),
    ],
)
def test_what_tensorflow_cannot_do_is_told_with_the_backend_that_can(strategy: str, reason: str) -> None:
    sentence = rf"strategy={strategy} needs the JAX backend: {reason}\. Received it on TensorFlow; add --backend=jax\."
    with pytest.raises(OptionsError, match=sentence) as refused:
        devices.init_process_group(TrainOptions(url_dataset="none", strategy=strategy))
    assert refused.value.option == "strategy"


@pytest.mark.parametrize("strategy", ["", "gpus"])
def test_a_process_on_tensorflow_is_alone(strategy: str) -> None:
    company = devices.init_process_group(TrainOptions(url_dataset="none", strategy=strategy))
    assert (company.index, company.count, company.is_chief) == (0, 1, True)


def test_gradients_are_summed_in_one_order() -> None:
    # The memory optimizer would have them summed as they come, and a run that was killed would end one bit elsewhere.
    devices.build_strategy(TrainOptions(url_dataset="none"))
    settings = context.context().function_call_options.config_proto_serialized
    rewriting = tf.compat.v1.ConfigProto.FromString(settings).graph_options.rewrite_options
    assert rewriting.memory_optimization == rewriting.NO_MEM_OPT
