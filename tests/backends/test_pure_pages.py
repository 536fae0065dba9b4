"""The pages that speak keras.ops give the same on JAX, where TensorFlow cannot be imported.

Keras takes its backend once a process, so the mirror tests of those pages run
again in another one, in which importing TensorFlow fails.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PURE = ("types", "boxes", "anchors", "assign", "losses", "schedules")

RUN_WITHOUT_TENSORFLOW = """
import sys
sys.modules["tensorflow"] = None  # Python's own way to say: this import fails.
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def jax_python() -> str:
    """Returns a Python that has JAX: this one, or the one that EFFICIENTDET_TEST_JAX_PYTHON names."""
    python = os.environ.get("EFFICIENTDET_TEST_JAX_PYTHON") or sys.executable
    if subprocess.run([python, "-c", "import jax"], capture_output=True, check=False).returncode:
        pytest.skip(f"jax is not importable in {python}; pip install 'efficientdet-pipeline[jax]' to run this")
    return python


def run_without_tensorflow(python: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "third_party/automl")])
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
    # Nearly all the time goes into compiling; the numbers stay the same.
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    command = [python, "-c", RUN_WITHOUT_TENSORFLOW, "-q", "--no-header", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_pure_pages_give_the_same_on_jax(jax_python: str) -> None:
    tests = [f"tests/efficientdet/test_{page}.py" for page in PURE]
    result = run_without_tensorflow(jax_python, *tests, "tests/contract/test_ops.py")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]
    assert " passed" in result.stdout


@pytest.mark.slow
def test_a_training_step_gives_automls_gradients_on_jax(jax_python: str) -> None:
    result = run_without_tensorflow(jax_python, "tests/contract/test_train_step.py")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]
    assert "8 passed" in result.stdout
