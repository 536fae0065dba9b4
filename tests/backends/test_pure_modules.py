"""Modules on keras.ops give the same results on JAX, where TensorFlow cannot be imported.

Their unit tests run again in another process.
"""

import subprocess
from collections.abc import Callable

import pytest

PURE = ("types", "boxes", "anchors", "assigners", "losses", "schedules", "segmentation_losses")

RUN_TESTS = """
import pytest
sys.exit(pytest.main(["-q", "--no-header", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


def test_pure_modules_are_the_same_on_jax(
    jax_python: str, run_on: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    tests = [f"tests/efficientdet/test_{module}.py" for module in PURE]
    result = run_on("jax", jax_python, RUN_TESTS, *tests, "tests/contract/test_ops.py")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]
    assert " passed" in result.stdout


@pytest.mark.slow
def test_train_step_gives_automls_gradients_on_jax(
    jax_python: str, run_on: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    result = run_on("jax", jax_python, RUN_TESTS, "tests/contract/test_train_step.py")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]
    assert "8 passed" in result.stdout
