"""Tests of reading and writing our own files and automl's h5 without TensorFlow."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from efficientdet.checkpoint import save_checkpoint, variable_names

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import json
import sys
sys.modules["tensorflow"] = None  # Makes the import fail.
import efficientdet
from efficientdet.errors import CheckpointError

folder = sys.argv[1]
model = efficientdet.build_model(efficientdet.get_config("efficientdet-d0").override(json.loads(sys.argv[2])))
for name, kind in (("model.weights.h5", "keras"), ("model.h5", "h5")):
    efficientdet.load_checkpoint(model, f"{folder}/{name}", skip_mismatch=False)
    path = efficientdet.save_checkpoint(model, f"{folder}/again/{name}", format=kind)
    report = efficientdet.load_checkpoint(model, path, skip_mismatch=False)
    print(len(report.loaded), float(efficientdet.variable_names(model)["box_net/box-predict/bias"][0]))
for use in (lambda: efficientdet.load_checkpoint(model, f"{folder}/tf1"),
            lambda: efficientdet.save_checkpoint(model, f"{folder}/a/tf1", format="tf1")):
    try:
        use()
    except CheckpointError as error:
        print("told:", error)
"""


def test_without_tensorflow_files_are_read_and_written_on_jax_alone(small_model: Any, tmp_path: Path) -> None:
    python = os.environ.get("EFFICIENTDET_TEST_JAX_PYTHON") or sys.executable
    if subprocess.run([python, "-c", "import jax"], capture_output=True, check=False).returncode:
        pytest.skip(f"jax is not importable in {python}; pip install 'efficientdet-pipeline[jax]' to run this")
    variables = variable_names(small_model)
    variables["box_net/box-predict/bias"].assign([0.5] * 36)
    save_checkpoint(small_model, tmp_path / "model.weights.h5")
    save_checkpoint(small_model, tmp_path / "model.h5", format="h5")
    save_checkpoint(small_model, tmp_path / "tf1", format="tf1")

    path = os.pathsep.join([str(ROOT), str(ROOT / "third_party/automl")])
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
    command = [python, "-c", SCRIPT, str(tmp_path), json.dumps(small_model.config.to_hparams())]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    loaded, told = result.stdout.splitlines()[:2], result.stdout.splitlines()[2:]
    assert loaded == [f"{len(variables)} 0.5"] * 2
    assert len(told) == 2
    assert all("needs TensorFlow, which is not installed here" in line for line in told)
