"""Train step: the same on TensorFlow and JAX, with accumulation and gradient checkpointing, and over processes."""

import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("run_train_steps.py")
ROOT = SCRIPT.parents[2]
# Each has a bad step in the middle; the last uses all options that save memory, and what JAX computes on GPUs only.
CASES = {
    "parts": {"with_nan": True, "parts": True},
    "plain": {"with_nan": True},
    "sparing": {
        "with_nan": True,
        "accumulate_steps": 2,
        "grad_checkpoint": "true",
        "positives_momentum": 0.5,
        "as_on_gpu": True,
    },
}

OF_CLASSES = {"segmentation": {"has_maps": True}, "classification": {"has_maps": False}}


def start(python: str, backend: str, cases: dict[str, Any], **environment: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "third_party/automl")])
    settings = {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}
    # Nearly all the time goes into compiling; the numbers stay the same.
    settings["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    return subprocess.Popen(
        [python, str(SCRIPT), json.dumps(cases)],
        env=os.environ | settings | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def answer_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors[-3000:]
    return json.loads(output.splitlines()[-1])


@pytest.fixture(scope="module")
def on_jax(jax_python: str) -> dict[str, Any]:
    return answer_of(start(jax_python, "jax", CASES | OF_CLASSES))


def assert_same(given: dict[str, Any], expected: dict[str, Any], *, rel: float) -> None:
    assert given.keys() == expected.keys()
    for name, value in expected.items():
        assert given[name] == pytest.approx(value, rel=rel, nan_ok=True), name


@pytest.fixture(scope="module")
def on_tensorflow() -> dict[str, Any]:
    return answer_of(start(sys.executable, "tensorflow", CASES | OF_CLASSES))


def test_train_step_is_the_same_on_both_backends(on_jax: dict[str, Any], on_tensorflow: dict[str, Any]) -> None:
    for case in CASES:
        assert_same(on_jax[case], on_tensorflow[case], rel=1e-3)
        assert on_jax[case]["losses"][0] == pytest.approx(on_tensorflow[case]["losses"][0], rel=1e-5)
        assert on_jax[case]["counted"] == [0, 1]


@pytest.mark.parametrize("task", OF_CLASSES)
def test_train_step_of_classes_is_the_same_on_both_backends(
    on_jax: dict[str, Any], on_tensorflow: dict[str, Any], task: str
) -> None:
    assert_same(on_jax[task], on_tensorflow[task], rel=1e-4)


def test_train_step_that_is_bad_leaves_everything_finite_on_jax(on_jax: dict[str, Any]) -> None:
    for case in CASES:
        first, bad, last = on_jax[case]["losses"]
        assert math.isnan(bad)
        assert math.isfinite(first + last)
        assert on_jax[case]["means"]["loss"] == pytest.approx((first + last) / 2, rel=1e-5)


def test_train_step_of_two_processes_equals_one(jax_python: str) -> None:
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    cluster = {"worker": [f"localhost:{port}", f"localhost:{port + 1}"]}
    specs = [json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}) for index in range(2)]
    cases = {"many": {"strategy": "multiworker"}}
    both = [start(jax_python, "jax", cases, TF_CONFIG=spec) for spec in specs]
    first, second = (answer_of(process)["many"] for process in both)
    assert first == second
    alone = answer_of(start(jax_python, "jax", {"one": {}}))["one"]
    assert_same(first, alone, rel=1e-5)
