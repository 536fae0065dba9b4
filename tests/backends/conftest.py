"""Fixtures: subprocesses for other backends, because Keras selects its backend once per process."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
Start = Callable[..., subprocess.CompletedProcess[str]]

WITHOUT_TENSORFLOW = """
import sys
sys.modules["tensorflow"] = None  # Makes the import fail.
"""


@pytest.fixture(scope="session")
def jax_python() -> str:
    """Returns a Python that has JAX: this one, or the one that EFFICIENTDET_TEST_JAX_PYTHON names."""
    python = os.environ.get("EFFICIENTDET_TEST_JAX_PYTHON") or sys.executable
    if subprocess.run([python, "-c", "import jax"], capture_output=True, check=False).returncode:
        pytest.skip(f"jax is not importable in {python}; pip install 'efficientdet-pipeline[jax]' to run this")
    return python


@pytest.fixture(scope="session")
def run_on() -> Start:
    """Returns a function that runs code on a backend with a given Python; on JAX, TensorFlow is not importable."""

    def run(backend: str, python: str, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(ROOT), str(ROOT / "third_party/automl")])
        environment = os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
        # Most of the time is compilation; results do not change.
        environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
        code = WITHOUT_TENSORFLOW + code if backend == "jax" else code
        command = [python, "-c", code, *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    return run
